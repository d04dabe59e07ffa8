package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// curled is what curl was answered.
type curled struct {
	status int
	head   string // of the answer, in lower case
	body   string
}

// failed is an error as the gateway says it.
type failed struct{ Code, Reason, Message, Advice string }

// curl asks a node.
func curl(t *testing.T, n *node, path string, args ...string) curled {
	t.Helper()
	head := filepath.Join(t.TempDir(), "head")
	args = append([]string{"--silent", "--show-error", "--noproxy", "*", "--max-time", "15", "--dump-header", head, "http://" + n.http + path}, args...)
	cmd := exec.Command("curl", args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	text, readErr := os.ReadFile(head)
	if err != nil && !slices.Contains(args, "--no-buffer") || readErr != nil { // a watch is ended by the time limit
		t.Fatalf("curl %v: %v, %s", args, err, said.String())
	}
	a := curled{head: strings.ToLower(string(text)), body: out.String()}
	for line := range strings.SplitSeq(a.head, "\r\n") {
		_, _ = fmt.Sscanf(line, "http/1.1 %d", &a.status) // the last one counts: there may be a 100 before
	}
	return a
}

// expect checks a status, and that an error is said with a reason and what to do.
func (a curled) expect(t *testing.T, status int, reason string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if reason == "" {
		return
	}
	var f failed
	if err := json.Unmarshal([]byte(a.body), &f); err != nil || f.Reason != reason || f.Code == "" || f.Message == "" || f.Advice == "" {
		t.Errorf("%v in %s, want the reason %s, the code, a message and advice", err, a.body, reason)
	}
}

func inBase64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// curlMeta is what a program that has nothing but HTTP does. Every step asks another
// node, of which one leads.
func curlMeta(t *testing.T, c *cluster) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl: ", err)
	}
	plainKeys(t, c)
	const put = `{"compares": [{"key": "%[1]s", "target": "VERSION", "number": "0"}], "then": [{"put": {"key": "%[1]s", "value": "%[2]s"}}, {"get": {"key": "%[3]s"}}], "otherwise": [{"get": {"key": "%[1]s"}}]}`
	txn := fmt.Sprintf(put, inBase64("json/a"), inBase64("one"), inBase64("greeting"))
	var did struct {
		Succeeded bool
		Revision  string
		Results   []struct{ Items []struct{ Value []byte } }
	}
	for n, want := range []bool{true, false} {
		a := curl(t, c.nodes[n], "/v1/volumes/meta/meta:txn", "--data", txn)
		a.expect(t, 200, "")
		if err := json.Unmarshal([]byte(a.body), &did); err != nil || did.Succeeded != want {
			t.Fatalf("txn %d: %s, %v", n, a.body, err)
		}
	}
	if len(did.Results) != 1 || string(did.Results[0].Items[0].Value) != "one" {
		t.Errorf("the other branch reads %+v", did)
	}
	for _, n := range c.nodes {
		a := curl(t, n, "/v1/volumes/meta/meta:range", "--json", fmt.Sprintf(`{"key": "%s", "end": "AA==", "options": {"level": "CONSISTENT"}}`, inBase64("a")))
		a.expect(t, 200, "")
		var read struct {
			Revision string
			Items    []struct{ Key []byte }
		}
		if err := json.Unmarshal([]byte(a.body), &read); err != nil || len(read.Items) != 2 || string(read.Items[1].Key) != "json/a" || read.Revision != did.Revision {
			t.Errorf("%s reads %s, %v", n.name, a.body, err)
		}
	}
	watchWithCurl(t, c)
	curl(t, c.nodes[0], "/v1/volumes/meta/meta:compact", "--data", fmt.Sprintf(`{"revision": "%s"}`, did.Revision)).expect(t, 200, "")
	curl(t, c.nodes[1], "/v1/volumes/meta/meta?revision=1&key="+inBase64("greeting")).expect(t, 410, "TRUNCATED")
	curl(t, c.nodes[2], "/v1/volumes/meta/meta:watch?after=1&key="+inBase64("greeting")).expect(t, 410, "TRUNCATED")
	curl(t, c.nodes[0], "/v1/volumes/nowhere/keys/k").expect(t, 404, "UNKNOWN_VOLUME")
	curl(t, c.nodes[0], "/v1/volumes/meta/keys/"+strings.Repeat("k", 5000)).expect(t, 400, "BAD_BATCH")
	for status, a := range map[int]curled{
		400: curl(t, c.nodes[1], "/v1/volumes/meta/meta:txn", "--data", "{"),
		404: curl(t, c.nodes[1], "/v1/volumes/meta/elsewhere"),
		405: curl(t, c.nodes[1], "/v1/volumes/meta/meta:txn"),
	} {
		var f failed
		if err := json.Unmarshal([]byte(a.body), &f); err != nil || a.status != status || f.Message == "" || f.Advice == "" {
			t.Errorf("status %d, want %d: %s", a.status, status, a.body)
		}
	}
	described := curl(t, c.nodes[2], "/openapi.json")
	var pages struct{ Paths map[string]any }
	if err := json.Unmarshal([]byte(described.body), &pages); err != nil || pages.Paths["/v1/volumes/{volume}/meta:txn"] == nil {
		t.Errorf("the description: %v in %.200s", err, described.body)
	}
}

// plainKeys goes through the life of a key without JSON.
func plainKeys(t *testing.T, c *cluster) {
	const key = "/v1/volumes/meta/keys/greeting"
	curl(t, c.nodes[0], key).expect(t, 404, "NOT_FOUND")
	curl(t, c.nodes[0], key, "--request", "PUT", "--data-binary", "hello", "--header", "If-None-Match: *").expect(t, 204, "")
	curl(t, c.nodes[1], key, "--request", "PUT", "--data-binary", "again", "--header", "If-None-Match: *").expect(t, 412, "PRECONDITION")
	for _, n := range c.nodes {
		if a := curl(t, n, key); a.status != 200 || a.body != "hello" || !strings.Contains(a.head, "etag: \"1\"") {
			t.Errorf("%s answers %+v", n.name, a)
		}
	}
	curl(t, c.nodes[2], key, "--request", "PUT", "--data-binary", "good morning", "--header", `If-Match: "1"`).expect(t, 204, "")
	curl(t, c.nodes[2], key, "--request", "DELETE", "--header", `If-Match: "1"`).expect(t, 412, "PRECONDITION")
	if a := curl(t, c.nodes[0], key+"?revision=1&read=consistent"); a.body != "hello" {
		t.Errorf("at revision 1: %+v", a)
	}
	curl(t, c.nodes[1], "/v1/volumes/meta/keys/with%20space%2Fslash", "--request", "PUT", "--data-binary", "x").expect(t, 204, "")
	curl(t, c.nodes[1], "/v1/volumes/meta/keys/with%20space/slash", "--request", "DELETE").expect(t, 204, "")
}

// watchWithCurl reads the history as lines of JSON until curl's time is over.
func watchWithCurl(t *testing.T, c *cluster) {
	a := curl(t, c.nodes[1], "/v1/volumes/meta/meta:watch?key="+inBase64("greeting"), "--no-buffer", "--max-time", "0.7")
	var told []string
	for line := range strings.SplitSeq(strings.TrimSpace(a.body), "\n") {
		var step struct {
			Result struct {
				Events []struct{ Item struct{ Value []byte } }
			}
		}
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		for _, e := range step.Result.Events {
			told = append(told, string(e.Item.Value))
		}
	}
	if !slices.Equal(told, []string{"hello", "good morning"}) {
		t.Errorf("the watch tells %q: %s", told, a.body)
	}
}

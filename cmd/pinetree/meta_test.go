package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// metaVerbs are the verbs that testMeta runs on a cluster.
var metaVerbs = []string{"compact", "delete", "get", "put", "range", "txn", "watch"}

func TestEveryMetaVerbIsTestedAndExplainsItself(t *testing.T) {
	var found []string
	for _, c := range metaCommand().Commands() {
		found = append(found, c.Name())
		if c.Short == "" || !strings.Contains(c.Example, "pinetree meta "+c.Name()) {
			t.Errorf("meta %s: %q, example %q", c.Name(), c.Short, c.Example)
		}
	}
	if slices.Sort(found); !slices.Equal(found, metaVerbs) {
		t.Errorf("there are the verbs %v, testMeta runs %v", found, metaVerbs)
	}
}

// metaItem is a key as the verbs print it.
type metaItem struct {
	Key, Value struct{ Text string }
	Modified   int
	Version    int
	Deleted    bool
}

func testMeta(t *testing.T) {
	verb := func(args ...string) []string { return append([]string{"meta"}, append(args, "--volume", "notes")...) }
	revision := func(args ...string) int {
		t.Helper()
		return parsed[struct{ Revision int }](t, verb(args...)...).Revision
	}
	if first := revision("put", "town/a", "Ayr"); first != 1 {
		t.Errorf("the first revision is %d", first)
	}
	second := revision("put", "town/b", "Bath", "--if-absent")
	if o := run(t, verb("put", "town/b", "Bonn", "--if-absent")...); o.code != cli.ExitFailed || !strings.Contains(o.err, "nothing was changed") {
		t.Errorf("put --if-absent of a key that is there: %+v", o)
	}
	third := revision("put", "town/b", "Bonn", "--if-modified", fmt.Sprint(second))
	got := parsed[metaItem](t, verb("get", "town/b", "--read", "consistent")...)
	if got.Value.Text != "Bonn" || got.Modified != third || got.Version != 2 {
		t.Errorf("get: %+v", got)
	}
	if out := must(t, verb("get", "town/b", "--revision", fmt.Sprint(second), "--raw")...); out != "Bath" {
		t.Errorf("get --revision --raw: %q", out)
	}
	list := parsed[struct {
		Items    []metaItem
		Revision int
	}](t, verb("range", "--prefix", "town/", "--read", "stale", "--revision", fmt.Sprint(third))...)
	if len(list.Items) != 2 || list.Items[0].Value.Text != "Ayr" || list.Revision != third {
		t.Errorf("range: %+v", list)
	}
	if out := must(t, verb("range", "--keys-only")...); !strings.Contains(out, "town/a") || strings.Contains(out, "Ayr") {
		t.Errorf("range --keys-only: %s", out)
	}
	done := parsed[struct {
		Succeeded bool
		Revision  int
		Steps     []struct {
			Step    string
			Items   []metaItem
			Deleted int
		}
	}](t, verb("txn", "--if", "value town/b = Bonn", "--if", "version town/c = 0", "--then", `put town/c "Cork by the sea"`, "--then", "get town/ town0", "--then", "delete town/a", "--else", "get town/a")...)
	if !done.Succeeded || len(done.Steps) != 3 || len(done.Steps[1].Items) != 2 || done.Steps[2].Deleted != 1 {
		t.Errorf("txn: %+v", done)
	}
	if out := must(t, verb("txn", "--if", "version town/c = 0", "--then", "delete town/c", "--else", "get town/c")...); !strings.Contains(out, "Cork by the sea") || !strings.Contains(out, "held: false") {
		t.Errorf("txn whose condition does not hold: %s", out)
	}
	testMetaWatch(t, verb)
	deleted := parsed[struct{ Deleted, Revision int }](t, verb("delete", "--prefix", "town/")...)
	if deleted.Deleted != 2 {
		t.Errorf("delete: %+v", deleted)
	}
	compacted := parsed[struct{ Compacted int }](t, verb("compact", fmt.Sprint(deleted.Revision))...)
	if compacted.Compacted != deleted.Revision {
		t.Errorf("compact: %+v", compacted)
	}
	if o := run(t, verb("get", "town/b", "--revision", fmt.Sprint(second))...); o.code != cli.ExitFailed || !strings.Contains(o.err, "compacted") {
		t.Errorf("get of what was compacted: %+v", o)
	}
	if o := run(t, verb("get", "town/b")...); o.code != cli.ExitFailed || !strings.Contains(o.err, "not found") {
		t.Errorf("get of what was deleted: %+v", o)
	}
}

func testMetaWatch(t *testing.T, verb func(...string) []string) {
	history := must(t, verb("watch", "--prefix", "town/", "--history", "--limit", "5")...)
	if lines := strings.Split(strings.TrimSpace(history), "\n"); len(lines) != 5 || lines[0] != "1  put     town/a  Ayr" || lines[3] != "4  delete  town/a" {
		t.Errorf("watch --history: %s", history)
	}
	after := must(t, verb("watch", "--after", "2", "--limit", "1", "-o", "json", "town/b")...)
	var step struct {
		Revision int
		Changes  []metaItem
	}
	if err := json.NewDecoder(strings.NewReader(after)).Decode(&step); err != nil || len(step.Changes) != 1 || step.Changes[0].Value.Text != "Bonn" || step.Changes[0].Modified != 3 {
		t.Errorf("watch --after: %s, %v", after, err)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

func TestContextsNameClusters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deeper", "config.yaml")
	t.Setenv("PINETREE_CONFIG", file)
	s := &story{t, map[string]bool{}}
	s.refused(cli.ExitUsage, "--manager is missing", "context", "set", "home")
	s.says("There is no context", "context", "ls")
	s.says("home", "context", "set", "home", "--manager", "127.0.0.1:1,127.0.0.1:2")
	s.says("away", "context", "set", "away", "--manager", "127.0.0.1:3", "--tls-ca", "ca.pem")
	type named struct {
		Name     string                         `json:"name"`
		Managers []string                       `json:"managers"`
		TLS      struct{ CA, Cert, Key string } `json:"tls"`
		Current  bool                           `json:"current"`
	}
	list := told[[]named](s, "context", "ls")
	if len(list) != 2 || !list[0].Current || list[1].Current || !filepath.IsAbs(list[1].TLS.CA) || len(list[0].Managers) != 2 {
		t.Errorf("context ls: %+v", list)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	// Who is asked: the current context, another, or none.
	s.refused(cli.ExitFailed, "127.0.0.1:2 does not answer", "node", "ls")
	s.refused(cli.ExitUsage, "ca.pem", "node", "ls", "--context", "away")
	s.refused(cli.ExitFailed, "127.0.0.1:4 does not answer", "node", "ls", "--manager", "127.0.0.1:4")
	s.refused(cli.ExitUsage, "it has home, away", "node", "ls", "--context", "nowhere")
	s.says("away", "context", "use", "away")
	s.refused(cli.ExitUsage, "ca.pem", "node", "ls")
	s.refused(cli.ExitUsage, "ca.pem", "node", "ls", "--context", "away", "--manager", "127.0.0.1:4")
	s.refused(cli.ExitFailed, "127.0.0.1:4 does not answer", "node", "ls", "--manager", "127.0.0.1:4") // nothing of a context beside it
	t.Setenv("PINETREE_CONTEXT", "home")
	s.refused(cli.ExitFailed, "127.0.0.1:1 does not answer", "node", "ls")
	if o := run(t, "tail", "--volume", "v", "--context", "nowhere"); o.code != cli.ExitUsage || !strings.Contains(o.err, "it has home, away") {
		t.Errorf("pinetree tail: %+v", o)
	}
	s.refused(cli.ExitUsage, "there is no context", "context", "use", "nowhere")
	s.refused(cli.ExitUsage, "there is no context", "context", "delete", "nowhere")
	s.says("home", "context", "delete", "away")
	if list := told[[]named](s, "context", "ls"); len(list) != 1 || list[0].Current {
		t.Errorf("after the current one is deleted: %+v", list)
	}
	for verb, test := range operatorVerbs {
		if test == "contexts" && !s.ran[verb] {
			t.Errorf("%s is not run", verb)
		}
	}
	if err := os.WriteFile(file, []byte("contexts:\n- name: x\n  manager: [a]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(cli.ExitFailed, "field manager not found", "context", "ls")
	if err := os.WriteFile(file, []byte("zone: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(cli.ExitFailed, "settings of a node", "context", "set", "x", "--manager", "a:1")
}

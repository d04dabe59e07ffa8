package serve

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

func TestFlagsThatDoNotFitTogetherAreRefused(t *testing.T) {
	three := "m1=127.0.0.1:7010,m2=127.0.0.1:7020,m3=127.0.0.1:7030"
	for _, c := range []struct{ args, words string }{
		{"", "say where the manager keeps what it knows"},
		{"--embed-etcd d --etcd h:2379", "say where the manager keeps what it knows"},
		{"--etcd h:2379 --name m1 --peers " + three, "are for --embed-etcd"},
		{"--etcd h:2379 --etcd-rejoin", "are for --embed-etcd"},
		{"--embed-etcd d --etcd-cacert f", "are for --etcd"},
		{"--embed-etcd d --name m1", "--name and --peers go together"},
		{"--embed-etcd d --peers " + three, "--name and --peers go together"},
		{"--embed-etcd d --name m4 --peers " + three, `"m4", is none of the peers`},
		{"--embed-etcd d --name m1 --peers m1=h:1,m2=h:3", "have 1, 3 or 5"},
		{"--embed-etcd d --name m1 --tls-ca f --peers " + three, "need a certificate"},
		{"--etcd h:2379 --etcd-cert f", "--etcd-cert and --etcd-key go together"},
		{"--etcd h:2379 --etcd-user u", "--etcd-user and --etcd-password-file go together"},
		{"--embed-etcd d --tls-server-name s", "a server with TLS needs a certificate"},
		{"--embed-etcd d --tls-cert f", "go together, and one of the two is missing"},
		{"--embed-etcd d --listen :0", "listens on every address"},
	} {
		root := Command("serve")
		var said bytes.Buffer
		root.SetArgs(strings.Fields(c.args))
		root.SetErr(&said)
		root.SetOut(&said)
		if code := cli.Execute(t.Context(), root); code != cli.ExitUsage || !strings.Contains(said.String(), c.words) {
			t.Errorf("serve %s: exit code %d, %s; want %q", c.args, code, said.String(), c.words)
		}
	}
}

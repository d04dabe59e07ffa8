package etcdstore

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/test/authority"
)

// members is a cluster of three members within this process, over TLS.
type members struct {
	t       *testing.T
	log     *slog.Logger
	members []Member
	running []*Embedded
}

// freePair finds two ports in a row on which nobody listens.
func freePair(t *testing.T, taken map[int]bool) string {
	t.Helper()
	for port := 21000 + os.Getpid()%5000; port < 32000; port += 2 {
		if taken[port] {
			continue
		}
		taken[port] = true
		free := true
		for _, p := range []int{port, port + 1} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	t.Fatal("no free ports")
	return ""
}

func newMembers(t *testing.T) *members {
	t.Helper()
	ours := authority.New(t)
	pair := ours.Loopback("member")
	c := &members{t: t, log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1})), running: make([]*Embedded, 3)}
	peers, taken := map[string]string{}, map[int]bool{}
	for i := range 3 {
		peers[fmt.Sprintf("m%d", i+1)] = freePair(t, taken)
	}
	for i := range 3 {
		c.members = append(c.members, Member{
			Dir: filepath.Join(t.TempDir(), "etcd"), Name: fmt.Sprintf("m%d", i+1), Peers: peers,
			Files: Files{Cert: pair.Cert, Key: pair.Key, CA: ours.CA},
		})
	}
	t.Cleanup(func() {
		for i := range c.running {
			c.stop(i)
		}
	})
	return c
}

func (c *members) start(i int) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	etcd, err := Start(ctx, c.members[i], c.log)
	c.running[i] = etcd
	return err
}

func (c *members) startAll() {
	c.t.Helper()
	var all sync.WaitGroup
	for i := range c.members {
		all.Go(func() {
			if err := c.start(i); err != nil {
				c.t.Error(err)
			}
		})
	}
	all.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

func (c *members) stop(i int) {
	if c.running[i] != nil {
		c.running[i].Close()
		c.running[i] = nil
	}
}

func (c *members) refused(i int, words string) {
	c.t.Helper()
	if err := c.start(i); err == nil || !strings.Contains(err.Error(), words) {
		c.t.Fatalf("member %d: want %q, got %v", i+1, words, err)
	}
}

func TestThreeMembersLoseOneAndTakeItBackOnlyAsItWas(t *testing.T) {
	t.Parallel()
	c := newMembers(t)
	c.startAll()
	s, err := Open(Config{Endpoints: c.members[0].endpoints(), Files: c.members[0].Files, SessionTTL: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	o := campaign(t, s, "m1")
	swap := func(key string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for {
			once, done := context.WithTimeout(ctx, 2*time.Second)
			_, err := s.Swap(once, o, []ledger.Change{put(key, "v", ledger.AnyRevision)})
			done()
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	swap("all")
	c.stop(0) // the member in the manager's own process, so to say
	swap("without the first")
	// Its directory is refused to others, and it to other directories.
	wrong := c.members[0]
	c.members[0].Name = "m2"
	c.refused(0, "the directory is that of member m1")
	c.members[0] = wrong
	c.members[0].Peers = nil
	c.refused(0, "the directory is that of member m1")
	c.members[0] = wrong
	kept := filepath.Join(c.members[0].Dir, "kept")
	if err := os.Rename(filepath.Join(c.members[0].Dir, "member"), kept); err != nil {
		t.Fatal(err)
	}
	c.refused(0, "the files of this member are gone")
	if err := os.Rename(kept, filepath.Join(c.members[0].Dir, "member")); err != nil {
		t.Fatal(err)
	}
	if err := c.start(0); err != nil {
		t.Fatal(err)
	}
	// The second one loses everything it had.
	c.stop(1)
	if err := os.RemoveAll(c.members[1].Dir); err != nil {
		t.Fatal(err)
	}
	c.refused(1, "has been in this etcd cluster before, and its directory is empty. "+lost)
	if err := os.RemoveAll(c.members[1].Dir); err != nil {
		t.Fatal(err)
	}
	swap("without the second")
	c.members[1].Rejoin = true
	if err := c.start(1); err != nil {
		t.Fatal(err)
	}
	c.stop(1)
	if err := c.start(1); err != nil { // the flag was forgotten
		t.Fatal(err)
	}
	c.stop(2) // and what is there is on the new one, too
	swap("without the third")
	if got := keys(t, s, ""); !slices.Equal(got, []string{"all=v", "without the first=v", "without the second=v", "without the third=v"}) {
		t.Fatalf("kept %v", got)
	}
}

func TestADirectoryOfOneDoesNotBecomeOneOfThree(t *testing.T) {
	c := newMembers(t)
	single, err := StartEmbedded(t.Context(), c.members[0].Dir, c.log)
	if err != nil {
		t.Fatal(err)
	}
	single.Close()
	c.refused(0, "cannot become one of several")
}

func TestMembersThatMakeNoSenseAreRefused(t *testing.T) {
	peers := map[string]string{"a": "127.0.0.1:1", "b": "127.0.0.1:3", "c": "127.0.0.1:5"}
	for words, m := range map[string]Member{
		"is none of the peers a=127.0.0.1:1,b": {Name: "d", Peers: peers},
		"have 1, 3 or 5":                       {Name: "a", Peers: map[string]string{"a": "h:1", "b": "h:3"}},
		"is not HOST:PORT":                     {Name: "a", Peers: map[string]string{"a": "h:x"}},
		"missing port":                         {Name: "a", Peers: map[string]string{"a": "h"}},
		"need a certificate":                   {Name: "a", Peers: peers, Files: Files{CA: "ca"}},
	} {
		if err := m.Check(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
}

// TestAManagerWhoseProcessIsGoneIsReplacedAtOnce: nobody waits for etcd's lease
// when the address refuses connections, or is the candidate's own now.
func TestAManagerWhoseProcessIsGoneIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t)
	openSlow := func() *Store {
		s, err := Open(Config{Endpoints: etcd.Endpoints, SessionTTL: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := openSlow(), openSlow(), openSlow()
	campaign(t, first, listener.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if _, err := second.Campaign(ctx, "m2"); err == nil {
		t.Fatal("a manager whose address is listened on was replaced")
	}
	listener.Close()
	began := time.Now()
	campaign(t, second, "192.0.2.1:7000") // where nothing answers, as far as is known
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	began = time.Now()
	campaign(t, third, "192.0.2.1:7000")
	if took := time.Since(began); took > time.Second {
		t.Errorf("at its own address it took %v", took)
	}
}

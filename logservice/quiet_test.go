package logservice

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// TestHeartbeatsLetQuietReplicasRest wants that a replica that rests is left out
// of heartbeats, and that being asked for its status does not wake it.
func TestHeartbeatsLetQuietReplicasRest(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	for _, m := range c.members {
		r := &reporter{host: m.node.host, last: map[pinetree.GroupID]report{}}
		if all := r.collect(t.Context(), time.Second, true); len(all.replicas) != 1 {
			t.Fatalf("%d replicas are reported, and there is one", len(all.replicas))
		}
		c.eventually("the replica is left out", func() error {
			if rest := r.collect(t.Context(), time.Second, false); len(rest.replicas) > 0 {
				return fmt.Errorf("%v", rest.replicas[0])
			}
			return nil
		})
		g, err := m.node.host.Group(1)
		if err != nil {
			t.Fatal(err)
		}
		// Answers to the last heartbeats may still come.
		before := g.View()
		c.eventually("the replica rests for a while", func() error {
			was := before
			time.Sleep(200 * time.Millisecond)
			if before = g.View(); before != was {
				return errors.New("it had a turn")
			}
			return nil
		})
		for range 20 {
			if _, err := g.Status(c.ctx()); err != nil {
				t.Fatal(err)
			}
			if g.View() != before {
				t.Fatal("a replica has a turn because somebody asked for its status")
			}
		}
	}
}

package host

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// TestADefaultReadLooksAtTheLeaseAgainWhenItIsDone lets things happen while the
// engine is being read: what was read then does not count.
func TestADefaultReadLooksAtTheLeaseAgainWhenItIsDone(t *testing.T) {
	for name, meanwhile := range map[string]func(c *cluster){
		"nothing happens": nil,
		"the lease is lost": func(c *cluster) {
			c.stopGrants(1)
			time.Sleep(250 * time.Millisecond) // it lasts 200 ms
		},
		"another one leads, and it leads again": func(c *cluster) {
			c.stopGrants(1)
			c.appoint(2)
			c.stopGrants(2)
			c.appoint(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			g := c.appoint(1)
			c.createVolume(g)
			if err := c.ship(g, 1, batches(t, 1, 0, 100)); err != nil {
				t.Fatal(err)
			}
			calls := 0
			answer, err := g.Read(c.ctx(5*time.Second), ReadRequest{Volume: theVolume, Level: pinetree.ReadDefault}, func(engine.Reader) error {
				if calls++; calls == 1 && meanwhile != nil {
					meanwhile(c)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want, level := 1, pinetree.ReadDefault
			if meanwhile != nil {
				want, level = 2, pinetree.ReadConsistent
			}
			if calls != want || answer.Level != level {
				t.Fatalf("read %d times and answered at level %s, want %d times and %s", calls, answer.Level, want, level)
			}
		})
	}
}

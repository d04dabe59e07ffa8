package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/test/authority"
)

// serves waits until a manager answers, as the active one or through it.
func (c *cluster) serves(i int) {
	c.t.Helper()
	within(c.t, 20*time.Second, c.managersInOrder()[i].name+" answers", func() error { return c.answersAt(i) })
}

// ends waits until a manager has ended by itself, as one that failed, and has told
// all of the words since it had said so many bytes.
func (c *cluster) ends(i, from int, words ...string) {
	c.t.Helper()
	m := c.managersInOrder()[i]
	select {
	case <-m.exited:
	case <-time.After(20 * time.Second):
		c.t.Fatalf("%s runs on: %s", m.name, m.output()[from:])
	}
	if code := m.cmd.ProcessState.ExitCode(); code != 1 {
		c.t.Errorf("%s ended with exit code %d", m.name, code)
	}
	for _, w := range words {
		if said := m.output()[from:]; !strings.Contains(said, w) {
			c.t.Errorf("%s said no %q, but %s", m.name, w, said)
		}
	}
}

// restart starts a manager that has ended with more arguments than it had at first,
// and returns how much it had said before.
func (c *cluster) restart(i int, first []string, more ...string) (said int) {
	c.t.Helper()
	m := c.managersInOrder()[i]
	m.kill()
	m.args = append(slices.Clone(first), more...)
	said = len(m.output())
	m.start()
	return said
}

// TestManagersWithOtherSettingsAreRefusedByName goes through a change of settings as
// an operator makes it, and in full size through what happens when a manager is
// forgotten.
func TestManagersWithOtherSettingsAreRefusedByName(t *testing.T) {
	beside(t)
	c := clusterOfThreeManagers(t, authority.New(t))
	volume := c.createVolume("v", pinetree.FormatOpaque)
	first := make([][]string, 3)
	for i, m := range c.managersInOrder() {
		first[i] = slices.Clone(m.args)
	}
	next := []string{"--lease", "1s", "--replace-after", "1m"}
	oldest := c.activeManager()
	changed, second := (oldest+1)%3, (oldest+2)%3

	said := c.restart(changed, first[changed], next...)
	c.ends(changed, said, "a lease is 600ms in the cluster, and 1s here", "lost replicas are replaced is 5m0s in the cluster, and 1m0s here", "--new-settings")
	said = c.restart(changed, first[changed], append(next, "--new-settings")...)
	c.serves(changed)
	if !full() {
		return
	}
	// Its own word changes nothing before it is the active one: the old settings
	// still are the cluster's. It is a candidate before the one that is restarted now,
	// whose member of etcd takes proposals along that are not made yet.
	time.Sleep(3 * time.Second)
	c.restart(oldest, first[oldest])
	c.serves(oldest)
	if now := c.managersInOrder()[changed].output()[said:]; strings.Contains(now, "settings_changed") || c.activeManager() != second {
		t.Fatalf("manager %d is active; the one with new settings says %s", c.activeManager(), now)
	}
	c.managersInOrder()[second].kill()
	within(t, 20*time.Second, "the new settings hold", func() error {
		told := c.managersInOrder()[changed].output()[said:]
		if !strings.Contains(told, "settings_changed") || !strings.Contains(told, "a lease is 600ms in the cluster, and 1s here") {
			return fmt.Errorf("it says %s", told)
		}
		return nil
	})
	was := c.restart(second, first[second])
	c.ends(second, was, "a lease is 1s in the cluster, and 600ms here", "is 1m0s in the cluster, and 5m0s here", "--new-settings")
	c.restart(second, first[second], next...)
	c.serves(second)
	time.Sleep(3 * time.Second)

	// The manager that was forgotten runs on, ends when it would become the active
	// one, and the next one takes the office.
	forgotten := len(c.managersInOrder()[oldest].output())
	c.restart(changed, first[changed], next...)
	c.ends(oldest, forgotten, "a lease is 1s in the cluster, and 600ms here")
	c.serves(second)
	within(t, 20*time.Second, "default reads go by a lease again", func() error {
		s, err := c.state(c.byID(volume.GetLeader()), volume.GetVolume(), wirepb.ReadLevel_DEFAULT, 2*time.Second)
		if err == nil && s.GetServed().GetLevel() != wirepb.ReadLevel_DEFAULT {
			err = fmt.Errorf("they are %v", s.GetServed())
		}
		return err
	})
}

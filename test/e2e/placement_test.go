package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestTheManagerPlacesReplicas kills a node for good under load and wants its
// replica on a fourth one, then removes that fourth node for a fifth, and at last
// deletes the volume, of which no files may be left anywhere.
func TestTheManagerPlacesReplicas(t *testing.T) {
	beside(t)
	c := emptyCluster(t)
	c.manager.args = append(c.manager.args, "--replace-after", "1s")
	c.fill(3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 18)
	fourth := c.addNode()
	dead := c.nodes[slices.IndexFunc(c.nodes, func(n *node) bool { return n != c.mustLeader(volume.Group) })]
	dead.kill()
	c.awaitVoters(volume.Group, func(voters []uint64) bool {
		return slices.Contains(voters, uint64(fourth.id)) && !slices.Contains(voters, uint64(dead.id))
	})
	l.more(1 << 18)

	// The dead one is removed for good: nobody waits for its files.
	c.addNode()
	c.removed(dead)
	safe, err := c.manages().SafeToStop(c.within(5*time.Second), &wirepb.SafeToStopRequest{Node: uint64(fourth.id)})
	if err != nil || !safe.Safe {
		t.Errorf("safe to stop node %d: %v, %v", fourth.id, safe, err)
	}
	c.removed(fourth)
	c.awaitVoters(volume.Group, func(voters []uint64) bool { return len(voters) == 3 && !slices.Contains(voters, uint64(fourth.id)) })
	l.more(1 << 18)
	fourth.kill()
	tail := l.end()
	left := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return !n.running() })
	c.votersAre(volume.Group, left...)
	c.verifyOn(left, volume.Volume, tail)

	if _, err := c.manages().DeleteVolume(c.within(5*time.Second), &wirepb.DeleteVolumeRequest{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.manages().Route(c.within(5*time.Second), &wirepb.RouteRequest{VolumeName: "v"}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("the deleted volume is routed: %v", err)
	}
	for _, n := range left {
		within(t, 10*time.Second, n.name+" has nothing left of it", func() error {
			_, err := wirepb.NewNodeClient(c.dial(n.addr)).Status(c.within(time.Second), &wirepb.StatusRequest{Group: volume.Group})
			if !errors.Is(err, pinetree.ErrUnknownGroup) {
				return fmt.Errorf("its replica: %v", err)
			}
			return nil
		})
	}
	again := c.createVolumeOf("v", 3)
	if again.Volume == volume.Volume || again.Group == volume.Group {
		t.Errorf("made again as %v, it was %v", again, volume)
	}
	// A process of a node that was removed is told so and ends.
	if _, err := os.Stat(filepath.Join(fourth.dir, "identity")); err != nil {
		t.Fatal(err)
	}
	fourth.start()
	within(t, 10*time.Second, "the removed node is refused", func() error { return fourth.logSays("start its process with an empty directory") })
}

// createVolumeOf is createVolume with so many replicas.
func (c *cluster) createVolumeOf(name string, replicas uint32) (v *wirepb.VolumeInfo) {
	c.t.Helper()
	within(c.t, 20*time.Second, "volume "+name, func() (err error) {
		v, err = c.manages().CreateVolume(c.within(10*time.Second), &wirepb.CreateVolumeRequest{Name: name, Format: uint32(pinetree.FormatOpaque), Replicas: replicas})
		return err
	})
	return v
}

// awaitVoters waits until the voters of a group are right and no change is under
// way.
func (c *cluster) awaitVoters(group uint64, right func(voters []uint64) bool) {
	c.t.Helper()
	within(c.t, 20*time.Second, "the replicas are where they are to be", func() error {
		info, err := c.show(group)
		if err == nil && (!right(info.Voters) || info.Change != "") {
			err = fmt.Errorf("voters %v, change %q: %s", info.Voters, info.Change, strings.Join(info.Words, "; "))
		}
		return err
	})
}

// removed removes a node from the cluster and waits until it is forgotten.
func (c *cluster) removed(n *node) {
	c.t.Helper()
	within(c.t, 20*time.Second, n.name+" is forgotten", func() error {
		answer, err := c.manages().RemoveNode(c.within(5*time.Second), &wirepb.RemoveNodeRequest{Node: uint64(n.id)})
		if err == nil && !answer.Removed {
			err = errors.New(answer.GetInfo().GetNote())
		}
		return err
	})
}

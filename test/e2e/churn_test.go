package e2e

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestReplicasChangeWhileProcessesAreKilled replaces, adds and removes replicas
// under a writer, and kills a random process in the middle of each change.
func TestReplicasChangeWhileProcessesAreKilled(t *testing.T) {
	beside(t)
	rounds := 4
	if full() {
		rounds = 100
	}
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	c.addNode()
	c.addNode()
	l := c.load("v")
	l.more(1 << 17)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	processes := []*process{c.manager}
	for _, n := range c.nodes {
		processes = append(processes, &n.process)
	}
	for round := range rounds {
		q := c.randomChange(volume.Group, random)
		began := time.Now()
		within(t, 20*time.Second, fmt.Sprintf("round %d: %v is recorded", round, q), func() error { return c.record(q) })
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		victim := processes[random.IntN(len(processes))]
		victim.kill()
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		victim.start()
		c.awaitChange(q)
		t.Logf("round %d: %v, %s killed, through after %v", round, q, victim.name, time.Since(began).Round(time.Millisecond))
		l.more(1 << 14)
	}
	info, err := c.show(volume.Group)
	if err != nil {
		t.Fatal(err)
	}
	var members []*node
	for _, id := range info.Voters {
		members = append(members, c.byID(id))
	}
	end := l.end()
	c.votersAre(volume.Group, members...)
	c.verifyOn(members, volume.Volume, end)
}

// randomChange makes a change that leaves a group three to five voters.
func (c *cluster) randomChange(group uint64, random *rand.Rand) *wirepb.ChangeReplicasRequest {
	c.t.Helper()
	var info *wirepb.GroupInfo
	within(c.t, 20*time.Second, "the manager answers", func() (err error) {
		info, err = c.show(group)
		return err
	})
	var others []uint64
	for _, n := range c.nodes {
		if !slices.Contains(info.Voters, uint64(n.id)) {
			others = append(others, uint64(n.id))
		}
	}
	q := &wirepb.ChangeReplicasRequest{Group: group}
	kind := random.IntN(3) // add, remove, replace
	if kind != 1 && len(others) > 0 || len(info.Voters) <= 3 {
		q.Add = others[random.IntN(len(others))]
	}
	if kind != 0 && (q.Add != 0 || len(info.Voters) > 3) || q.Add == 0 {
		q.Remove = info.Voters[random.IntN(len(info.Voters))]
	}
	return q
}

// record orders a change and does not wait for its end.
func (c *cluster) record(q *wirepb.ChangeReplicasRequest) error {
	_, err := c.manages().ChangeReplicas(c.within(300*time.Millisecond), q)
	info, e := c.show(q.Group)
	if e != nil {
		return e
	}
	if info.Change != "" || changed(info, q) {
		return nil
	}
	return fmt.Errorf("voters %v: %w", info.Voters, err)
}

func changed(info *wirepb.GroupInfo, q *wirepb.ChangeReplicasRequest) bool {
	return (q.Add == 0 || slices.Contains(info.Voters, q.Add)) && !slices.Contains(info.Voters, q.Remove)
}

// awaitChange waits until a recorded change is through. A node that lost its
// replica comes back under another leader only.
func (c *cluster) awaitChange(q *wirepb.ChangeReplicasRequest) {
	c.t.Helper()
	within(c.t, 60*time.Second, fmt.Sprintf("%v is through", q), func() error {
		info, err := c.show(q.Group)
		switch {
		case err != nil:
			return err
		case strings.Contains(info.Change, "under the next leader"):
			_, err = c.manages().MoveLeader(c.within(3*time.Second), &wirepb.MoveLeaderRequest{Group: q.Group})
			return fmt.Errorf("%s; moved: %w", info.Change, err)
		case info.Change != "" || !changed(info, q) || len(info.Removed) > 0:
			return fmt.Errorf("voters %v, removed %v: %s; %s", info.Voters, info.Removed, info.Change, info.Reason)
		}
		return nil
	})
}

// TestADirectoryThatClaimsTheIdOfAnotherIsRefused gives a node with an empty
// directory the id of one that is gone, as if its disk had been lost and its
// identity made up.
func TestADirectoryThatClaimsTheIdOfAnotherIsRefused(t *testing.T) {
	beside(t)
	c := startCluster(t, 3)
	c.createVolume("v", pinetree.FormatOpaque)
	lost := c.nodes[2]
	lost.kill()
	encoded, err := os.ReadFile(filepath.Join(lost.dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	identity := &storepb.NodeIdentity{}
	if err := proto.Unmarshal(encoded[4:], identity); err != nil {
		t.Fatal(err)
	}
	identity.Instance = "made up"
	if encoded, err = proto.Marshal(identity); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(lost.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(lost.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	crc := crc32.Checksum(encoded, storepb.Castagnoli)
	sum := []byte{byte(crc), byte(crc >> 8), byte(crc >> 16), byte(crc >> 24)}
	if err := os.WriteFile(filepath.Join(lost.dir, "identity"), append(sum, encoded...), 0o600); err != nil {
		t.Fatal(err)
	}
	lost.start()
	select {
	case <-lost.exited:
	case <-time.After(20 * time.Second):
		t.Error("a node runs under the id of another directory")
	}
	if err := lost.logSays("a node that lost its directory starts with an empty one and gets a new id"); err != nil {
		t.Error(err)
	}
}

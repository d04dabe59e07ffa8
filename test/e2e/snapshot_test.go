package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestAReplicaThatWasAwayIsCaughtUpBySnapshot keeps a follower away until the log
// that it lacks is gone, and lets it come back while a writer goes on.
func TestAReplicaThatWasAwayIsCaughtUpBySnapshot(t *testing.T) {
	long(t)
	beside(t)
	for _, engine := range []string{"badger", "wal", "pebble"} {
		t.Run(engine, func(t *testing.T) {
			if engine == "pebble" && !full() {
				t.Skip("PINETREE_E2E=full runs it")
			}
			testAway(t, engine)
		})
	}
}

func testAway(t *testing.T, engine string) {
	c := startCluster(t, 3, "--keep-log", "256KiB", "--engine", engine)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 18)
	leader := c.mustLeader(volume.Group)
	away := c.nodes[0]
	if away == leader {
		away = c.nodes[1]
	}
	away.kill()
	within(t, 30*time.Second, "the follower is left behind", func() error { return leader.logSays("left behind") })
	l.more(1 << 20)
	time.Sleep(1500 * time.Millisecond) // in which the log is shortened
	away.start()
	c.awaitServing(away)
	within(t, 20*time.Second, "a snapshot is taken", func() error { return away.logSays("has taken a snapshot") })
	l.more(1 << 18)
	c.votersAre(volume.Group, c.nodes...)
	end := l.end()
	c.verify(volume.Volume, end)
	// What it took survives it.
	away.kill()
	away.start()
	c.awaitServing(away)
	c.verify(volume.Volume, end)
}

// TestASnapshotSurvivesTheEndOfEitherSide adds a replica by a snapshot that takes
// seconds, and again and again kills whoever sends it, takes it or manages the
// change, until it is left alone.
func TestASnapshotSurvivesTheEndOfEitherSide(t *testing.T) {
	long(t)
	beside(t)
	rounds := 4
	if full() {
		rounds = 12
	}
	c := startCluster(t, 3, "--snapshot-rate", "1MiB")
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(3 << 19)
	fourth := c.addNode()
	recorded := make(chan error, 1)
	go func() {
		_, err := c.manages().ChangeReplicas(c.within(3*time.Second), &wirepb.ChangeReplicasRequest{Group: volume.Group, Add: uint64(fourth.id)})
		recorded <- err
	}()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	killed := map[string]int{}
	for round := range rounds {
		if !c.underWay(volume.Group) {
			t.Logf("the replica was there before round %d", round)
			break
		}
		time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		leader := &c.mustLeader(volume.Group).process
		victims := [][]*process{{&fourth.process}, {leader}, {c.manager, leader}, {&fourth.process, leader}}[round%4]
		for _, victim := range victims {
			killed[victim.name]++
			victim.kill()
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		for _, victim := range victims {
			victim.start()
		}
		within(t, 20*time.Second, "the manager answers", func() error { return c.registered(4) })
		l.more(1 << 14)
	}
	if err := <-recorded; err != nil {
		t.Logf("who ordered it heard: %v", err)
	}
	within(t, 3*time.Minute, "the change is through", func() error {
		info, err := c.show(volume.Group)
		if err == nil && (info.Change != "" || len(info.Voters) != 4) {
			err = fmt.Errorf("%v %s", info.Voters, info.Change)
		}
		return err
	})
	t.Logf("killed in the middle: %v", killed)
	if len(killed) < 3 {
		t.Errorf("a snapshot was under way in too few rounds: %v", killed)
	}
	l.more(1 << 14)
	c.votersAre(volume.Group, c.nodes...)
	c.verify(volume.Volume, l.end())
}

// TestAppendsDoNotWaitForASnapshot sends 32 MiB, in full 2 GiB, to a new replica at
// the default rate, and beside it appends one record after the other. The 99th percentile of
// their latency stays within ten times what it is before and after, or 250 ms.
func TestAppendsDoNotWaitForASnapshot(t *testing.T) {
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	w := c.newWriter("v")
	var tail pinetree.LSN
	add := func(payload []byte) {
		t.Helper()
		r := pinetree.Record{Prev: tail, LSN: tail + pinetree.LSN(len(payload)), Payload: payload}
		if err := w.Append(c.within(20*time.Second), r); err != nil {
			t.Fatal(err)
		}
		tail = r.LSN
	}
	big := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{1})
	records := 512
	if full() {
		records = 2 << 30 / len(big)
	}
	for range records {
		_, _ = random.Read(big)
		add(append([]byte(nil), big...))
	}
	if err := w.Flush(c.within(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// p99 appends until done, at least 300 times.
	p99 := func(done func() bool) time.Duration {
		t.Helper()
		var all []time.Duration
		for len(all) < 300 || !done() {
			began := time.Now()
			add([]byte("a small record"))
			if err := w.Flush(c.within(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		t.Logf("%d appends, p50 %v, p99 %v, max %v", len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
		return all[len(all)*99/100]
	}
	before := p99(func() bool { return true })
	fourth := c.addNode()
	changed := make(chan *wirepb.GroupInfo, 1)
	go func() { changed <- c.change(volume.Group, fourth.id, 0) }()
	during := p99(func() bool { return len(changed) > 0 })
	if info := <-changed; len(info.Voters) != 4 {
		t.Fatalf("%v", info)
	}
	if err := fourth.logSays("has taken a snapshot"); err != nil {
		t.Error(err)
	}
	if ours, theirs := c.mustDigest(c.mustLeader(volume.Group), volume.Volume, tail), c.mustDigest(fourth, volume.Volume, tail); ours != theirs {
		t.Errorf("digests: of the leader %s, of the new replica %s", ours, theirs)
	}
	if without := max(before, p99(func() bool { return true })); during > max(10*without, 250*time.Millisecond) {
		t.Errorf("appends take %v while a snapshot is under way, and %v without one", during, without)
	}
}

func (c *cluster) mustDigest(n *node, volume uint64, at pinetree.LSN) string {
	c.t.Helper()
	d, err := c.digest(n, volume, at)
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// underWay waits until a snapshot is on its way, by the word of the leader; false
// when the change has come to its end.
func (c *cluster) underWay(group uint64) (sending bool) {
	c.t.Helper()
	within(c.t, 40*time.Second, "a snapshot is on its way", func() error {
		info, err := c.show(group)
		if err != nil {
			return err
		}
		sending = strings.Contains(info.Change, "a snapshot as of index")
		if !sending && (info.Change != "" || len(info.Voters) < 4) {
			return fmt.Errorf("%s", info.Change)
		}
		return nil
	})
	return sending
}

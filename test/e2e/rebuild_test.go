package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestADamagedEngineIsRebuiltFromItsPeers flips a bit of every kibibyte of a
// follower's engine, while the others go on. The replica serves nothing of it, one
// command makes it anew, and it is as good as the others after.
func TestADamagedEngineIsRebuiltFromItsPeers(t *testing.T) {
	beside(t)
	for engine, pattern := range map[string]string{"badger": "*.vlog", "wal": "*.wal"} {
		t.Run(engine, func(t *testing.T) {
			if engine != "badger" && !full() {
				t.Skip("PINETREE_E2E=full runs it")
			}
			testRebuilt(t, engine, pattern)
		})
	}
}

func testRebuilt(t *testing.T, engine, pattern string) {
	c := startCluster(t, 3, "--engine", engine)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 19)
	victim := c.victim(volume.Group, false)
	time.Sleep(1500 * time.Millisecond) // in which the engine is flushed
	victim.kill()
	files, err := filepath.Glob(filepath.Join(victim.dir, "engine", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("files of the engine: %v, %v", files, err)
	}
	for _, name := range files {
		damage(t, name)
	}
	victim.start()
	within(t, 20*time.Second, "the damage is named", func() error {
		if err := victim.logSays("corrupt"); err == nil {
			return nil
		}
		// Some of it is met only by those who read.
		if _, err := c.log(victim, volume.Volume, pinetree.LSN(1<<19)); err == nil {
			t.Fatalf("%s gives all of its log although the files %v are damaged", victim.name, files)
		}
		return victim.logSays("corrupt")
	})
	rebuild := []string{"rebuild", "--dir", victim.dir, "--manager", c.managed, "--engine", engine}
	if victim.running() {
		if out, errs, code := c.run(20*time.Second, rebuild...); code != 1 || !strings.Contains(errs, "the node must not run") {
			t.Errorf("rebuilding a node that runs: exit code %d\n%s%s", code, out, errs)
		}
		within(t, 20*time.Second, "the group says that the replica stopped", func() error {
			g, err := c.show(volume.Group)
			if err == nil && !strings.Contains(strings.Join(g.GetWords(), "\n")+fmt.Sprint(g.GetReplicas()), "corrupt") {
				err = fmt.Errorf("it says %v", g)
			}
			return err
		})
		if moved, err := c.manages().MoveLeader(c.within(5*time.Second), &wirepb.MoveLeaderRequest{Group: volume.Group, To: uint64(victim.id)}); err == nil && moved.GetMoved() {
			t.Errorf("a replica with damaged state was made the leader: %v", moved)
		}
		victim.kill()
	}
	l.more(1 << 16)
	out, errs, code := c.run(30*time.Second, rebuild...)
	if code != 0 || !strings.Contains(string(out), "1 replicas of node") {
		t.Fatalf("rebuild: exit code %d\n%s%s", code, out, errs)
	}
	victim.start()
	c.awaitServing(victim)
	l.more(1 << 16)
	c.verify(volume.Volume, l.end())
	if kept, err := filepath.Glob(filepath.Join(victim.dir, "engine.damaged-*")); err != nil || len(kept) != 1 {
		t.Errorf("the damaged engine is kept as %v, %v", kept, err)
	}
}

// damage flips a bit of every kibibyte of a file, but for its first bytes, where
// some formats would take it for another file.
func damage(t *testing.T, name string) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 1 << 9; at < len(raw); at += 1 << 10 {
		raw[at] ^= 1
	}
	if err := os.WriteFile(name, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

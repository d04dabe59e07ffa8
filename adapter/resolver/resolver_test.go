package resolver

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestNamesSayManagersVolumeLevelAndZone(t *testing.T) {
	for name, want := range map[string]target{
		"pinetree://a:1/db":                                 {[]string{"a:1"}, "db", "", pinetree.ReadDefault},
		"pinetree://a:1,b:2/db?read=stale&zone=z1":          {[]string{"a:1", "b:2"}, "db", "z1", pinetree.ReadStale},
		"pinetree:///db?manager=a:1&manager=b:2,c:3":        {[]string{"a:1", "b:2", "c:3"}, "db", "", pinetree.ReadDefault},
		"pinetree://[::1]:1/with/slash?read=consistent":     {[]string{"[::1]:1"}, "with/slash", "", pinetree.ReadConsistent},
		"pinetree:///db?manager=%5B::1%5D:1&read=default":   {[]string{"[::1]:1"}, "db", "", pinetree.ReadDefault},
		"pinetree://a:1/a%20name%3F":                        {[]string{"a:1"}, "a name?", "", pinetree.ReadDefault},
		"pinetree://10.0.0.1:7000,10.0.0.2:7000/pg?zone=eu": {[]string{"10.0.0.1:7000", "10.0.0.2:7000"}, "pg", "eu", pinetree.ReadDefault},
	} {
		u, err := url.Parse(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := parse(*u)
		if err != nil || !slices.Equal(got.managers, want.managers) || got.volume != want.volume || got.zone != want.zone || got.level != want.level {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, why := range map[string]string{
		"pinetree:///db": "names no cluster manager", "pinetree://a:1": "or no volume",
		"pinetree://a:1/db?read=fresh": "known are default, stale and consistent", "pinetree://a:1/db?zon=a": `option "zon"`,
	} {
		conn, err := grpc.NewClient(name, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(context.Background(), conn, wirepb.ReadLevel_DEFAULT); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", name, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPlainClientsReachTheLeaderThroughManagersAndWithoutThem(t *testing.T) {
	c := newCluster(t)
	conn := c.connect("")
	c.serves(conn, wirepb.ReadLevel_DEFAULT, 1)
	c.manager.stop()
	for _, leader := range []pinetree.NodeID{2, 3, 1, 3} {
		c.lead(leader)
		if got, err := read(context.Background(), conn, wirepb.ReadLevel_DEFAULT); err != nil || got != leader {
			t.Errorf("%d leads, %d answered: %v", leader, got, err)
		}
		answer, err := wirepb.NewComputeClient(conn).Resolve(context.Background(), &wirepb.ResolveRequest{Volume: theVolume})
		if err != nil || answer.GetDurableLsn() != uint64(leader) {
			t.Errorf("%d leads, Resolve says %v, %v", leader, answer, err)
		}
	}
	c.nodes[2].stop()
	c.lead(2)
	if got, err := read(context.Background(), conn, wirepb.ReadLevel_DEFAULT); err != nil || got != 2 {
		t.Errorf("after the leader died: %d answered: %v", got, err)
	}
}

func TestALeaderThatIsNewIsFoundByAskingTheManagersAgain(t *testing.T) {
	c := newCluster(t)
	conn := c.connect("")
	c.serves(conn, wirepb.ReadLevel_DEFAULT, 1)
	c.mu.Lock()
	c.leader, c.routed = 4, 4
	c.mu.Unlock()
	began := time.Now()
	if got, err := read(context.Background(), conn, wirepb.ReadLevel_DEFAULT); err != nil || got != 4 {
		t.Errorf("%d answered: %v", got, err)
	}
	if took := time.Since(began); took > again/2 {
		t.Errorf("that took %v, as if the next ask had been waited for", took)
	}
}

func TestReadsOfAnyReplicaGoToTheNearest(t *testing.T) {
	c := newCluster(t)
	stale, leads := c.connect("?read=stale&zone=z2"), c.connect("?zone=z3")
	c.serves(stale, wirepb.ReadLevel_STALE, 2)
	c.serves(leads, wirepb.ReadLevel_DEFAULT, 1)
	c.mu.Lock()
	c.refused = 0 // before it was connected to the leader, anybody was asked
	c.mu.Unlock()
	for range 20 {
		if got, err := read(context.Background(), stale, wirepb.ReadLevel_STALE); err != nil || got != 2 {
			t.Fatalf("%d answered: %v", got, err)
		}
	}
	if got, err := read(WithLevel(context.Background(), pinetree.ReadConsistent), leads, wirepb.ReadLevel_CONSISTENT); err != nil || got != 3 {
		t.Errorf("a call's own level: %d answered: %v", got, err)
	}
	if got, err := read(WithLevel(context.Background(), pinetree.ReadDefault), stale, wirepb.ReadLevel_DEFAULT); err != nil || got != 1 {
		t.Errorf("a call's own level: %d answered: %v", got, err)
	}
	if answer, err := wirepb.NewComputeClient(stale).Resolve(context.Background(), &wirepb.ResolveRequest{}); err != nil || answer.GetDurableLsn() != 1 {
		t.Errorf("what only the leader may answer was answered by %v, %v", answer, err)
	}
	for range 20 {
		if got, err := read(context.Background(), leads, wirepb.ReadLevel_DEFAULT); err != nil || got != 1 {
			t.Fatalf("%d answered: %v", got, err)
		}
	}
	if c.refused > 0 {
		t.Errorf("%d calls went to nodes that do not lead, and the leader was known", c.refused)
	}
	c.manager.stop()
	c.nodes[1].stop()
	for range 20 {
		if got, err := read(context.Background(), stale, wirepb.ReadLevel_STALE); err != nil || got == 2 {
			t.Fatalf("after the nearest died, %d answered: %v", got, err)
		}
	}
	c.nodes[1].start(t)
	c.serves(stale, wirepb.ReadLevel_STALE, 2)
}

func TestConnectionsWaitForAManagerAndSayWhatTheyMiss(t *testing.T) {
	c := newCluster(t)
	c.manager.stop()
	conn := c.connect("")
	if _, err := read(context.Background(), conn, wirepb.ReadLevel_DEFAULT); err == nil || !strings.Contains(err.Error(), "route of volume db") {
		t.Errorf("without a manager: %v", err)
	}
	c.manager.start(t)
	deadline := time.Now().Add(10 * time.Second)
	for {
		if got, err := read(context.Background(), conn, wirepb.ReadLevel_DEFAULT); err == nil && got == 1 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the manager is back, and %d answered: %v", got, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestAVolumeThatWasMadeAgainIsFound: a name is that of whichever volume has it.
func TestAVolumeThatWasMadeAgainIsFound(t *testing.T) {
	c := newCluster(t)
	conn := c.connect("")
	c.serves(conn, wirepb.ReadLevel_DEFAULT, 1)
	c.mu.Lock()
	c.remade, c.leader = true, 4
	c.mu.Unlock()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := read(context.Background(), conn, wirepb.ReadLevel_DEFAULT)
		if err == nil && got == 4 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the volume is on node 4 now, and %d answered: %v", got, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

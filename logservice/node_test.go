package logservice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// put makes the payload that sets a key.
func put(t *testing.T, key string, value []byte) []byte {
	t.Helper()
	payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte(key), Value: value}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func TestNodeTellsItsHealthAndCounts(t *testing.T) {
	c := startCluster(t, 1)
	m := c.members[0]
	h, err := grpc_health_v1.NewHealthClient(m.conn).Check(c.ctx(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
	registry := prometheus.NewRegistry()
	if err := m.node.metrics.register(registry, m.node); err != nil {
		t.Fatal(err)
	}
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{})
	plain := w.batch(3, bytes.Repeat([]byte("counted"), 100))
	var small storepb.Compressor
	b := small.Compress(plain)
	w.send(b)
	w.await(b.LSN)
	c.level(0, wirepb.ReadLevel_STALE)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, one := range f.Metric {
			name := f.GetName()
			for _, l := range one.Label {
				name += "/" + l.GetValue()
			}
			values[name] = one.GetCounter().GetValue() + one.GetGauge().GetValue() + float64(one.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"pinetree_received_batches_total": 1, "pinetree_received_records_total": 3, "pinetree_received_bytes_total": float64(b.Size()),
		"pinetree_received_plain_bytes_total": float64(plain.Size()),
		"pinetree_reads_total/stale":          1, "pinetree_replicas": 1,
	} {
		if values[name] != want {
			t.Errorf("%s is %v, want %v", name, values[name], want)
		}
	}
	if values["pinetree_raftlog_fsync_seconds"] < 3 || values["pinetree_grants_total"] < 1 {
		t.Errorf("fsyncs and grants are not counted: %v", values)
	}
}

func TestRangesAreBoundedAndGoOn(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatRedo)
	w := c.open(0, &wirepb.OpenRequest{})
	const keys = 40
	for i := range keys {
		w.send(w.batch(1, put(t, fmt.Sprintf("key %02d", i), make([]byte, 200_000))))
	}
	w.await(w.at)
	reads := c.members[0].reads()
	var got []string
	start, answers := []byte(nil), 0
	for more := true; more; answers++ {
		r, err := reads.Range(c.ctx(), &wirepb.RangeRequest{Volume: 7, Start: start, Options: &wirepb.ReadOptions{At: uint64(w.at)}})
		if err != nil || len(r.Items) == 0 {
			t.Fatalf("%d items, %v", len(r.GetItems()), err)
		}
		if size := proto.Size(r); size > maxRangeBytes+300_000 {
			t.Fatalf("one answer has %d bytes", size)
		}
		for _, item := range r.Items {
			got = append(got, string(item.Key))
		}
		start, more = append([]byte(got[len(got)-1]), 0), r.More
	}
	if len(got) != keys || answers < 2 {
		t.Fatalf("%d of %d keys came in %d answers", len(got), keys, answers)
	}
	for i, key := range got {
		if key != fmt.Sprintf("key %02d", i) {
			t.Fatalf("key %d is %q", i, key)
		}
	}
	limited, err := reads.Range(c.ctx(), &wirepb.RangeRequest{Volume: 7, Limit: 3, End: []byte("key 30"), Start: []byte("key 28")})
	if err != nil || len(limited.Items) != 2 || limited.More {
		t.Fatalf("[key 28, key 30) up to 3: %d items, more %v, %v", len(limited.GetItems()), limited.GetMore(), err)
	}
}

func TestReadsWaitForAnLSNAndSeeThePast(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatRedo)
	w := c.open(0, &wirepb.OpenRequest{})
	first := w.batch(1, put(t, "k", []byte("old")))
	second := w.batch(1, put(t, "k", []byte("new")))
	later := w.batch(1, put(t, "other", nil))
	w.send(first, second)
	w.await(second.LSN)
	for _, m := range c.members {
		for at, want := range map[pinetree.LSN]string{first.LSN: "old", second.LSN: "new", 0: "new", later.LSN: "new"} {
			r, err := m.reads().Key(c.ctx(), &wirepb.KeyRequest{Volume: 7, Key: []byte("k"), Options: &wirepb.ReadOptions{
				Level: wirepb.ReadLevel_STALE, MinLsn: uint64(second.LSN), At: uint64(at),
			}})
			if err != nil || string(r.Value) != want || r.Served.Lsn > uint64(second.LSN) {
				t.Errorf("as of %s: %v, %v, want %q", at, r, err, want)
			}
		}
	}
	// What is not there yet is waited for, as long as the caller wants.
	waiting := make(chan error, 1)
	options := &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: uint64(later.LSN)}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.members[2].reads().State(ctx, &wirepb.StateRequest{Volume: 7, Options: options}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what nobody ships: %v", err)
	}
	go func() {
		_, err := c.members[2].reads().State(c.ctx(), &wirepb.StateRequest{Volume: 7, Options: options})
		waiting <- err
	}()
	w.send(later)
	if err := <-waiting; err != nil {
		t.Errorf("waiting for %s: %v", later.LSN, err)
	}
	if _, err := c.members[0].reads().Key(c.ctx(), &wirepb.KeyRequest{Volume: 7, Key: []byte("none")}); !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
	if _, err := c.members[0].reads().State(c.ctx(), &wirepb.StateRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: 9}}); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("a level that there is not: %v", err)
	}
	state, err := c.members[0].reads().State(c.ctx(), &wirepb.StateRequest{Volume: 7})
	if err != nil || state.Group != 1 || state.ComputeTerm != uint64(w.term) || state.Watermarks.Committed < uint64(second.LSN) {
		t.Errorf("state: %v, %v", state, err)
	}
}

func TestTransferMovesTheLeaderAndReleasesTheLease(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{})
	b := w.batch(1, []byte("x"))
	w.send(b)
	w.await(b.LSN)
	from, to := wirepb.NewNodeClient(c.members[0].conn), wirepb.NewNodeClient(c.members[1].conn)
	// The first time the follower may not have answered this leader yet.
	c.eventually("the leadership is transferred", func() error {
		appointed := make(chan error, 1)
		go func() {
			_, err := to.Appoint(c.ctx(), &wirepb.AppointRequest{Group: 1, Appointment: 2, Wait: true})
			appointed <- err
		}()
		r, err := from.Transfer(c.ctx(), &wirepb.TransferRequest{Group: 1, Appointment: 1, To: 2, MaxPauseMs: 1000})
		if err != nil || !r.Transferred || !r.Released {
			return fmt.Errorf("%v, %v", r, err)
		}
		return <-appointed
	})
	if _, ok := errors.AsType[*pinetree.NotLeaderError](w.fails()); !ok {
		t.Error("the writer's stream did not end with NotLeader")
	}
	c.open(1, &wirepb.OpenRequest{})
	s, err := from.Status(c.ctx(), &wirepb.StatusRequest{Group: 1})
	if err != nil || len(s.Replicas) != 1 || s.Replicas[0].Leader || s.Replicas[0].Released != 1 || s.Node != 1 {
		t.Errorf("status after the transfer: %v, %v", s, err)
	}
	if _, err := from.Appoint(c.ctx(), &wirepb.AppointRequest{Group: 1, Appointment: 1}); !errors.Is(err, pinetree.ErrStaleAppointment) {
		t.Errorf("an appointment that was released: %v", err)
	}
	if _, err := from.Status(c.ctx(), &wirepb.StatusRequest{Group: 9}); !errors.Is(err, pinetree.ErrUnknownGroup) {
		t.Errorf("an unknown group: %v", err)
	}
	if _, err := from.CreateReplica(c.ctx(), &wirepb.CreateReplicaRequest{Group: 3, Voters: []uint64{2, 3}}); !errors.Is(err, pinetree.ErrBadBatch) || !strings.Contains(err.Error(), "node 1") {
		t.Errorf("a group of other nodes: %v", err)
	}
}

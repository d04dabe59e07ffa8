package transport

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

var modes = map[Mode]string{ModeTCP: "tcp", ModeStream: "stream", ModeUnary: "unary"}

func rising(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i)
	}
	return all
}

func TestEachLaneKeepsItsOrder(t *testing.T) {
	for mode, name := range modes {
		t.Run(name, func(t *testing.T) {
			b, nodes := &book{}, map[pinetree.NodeID]*node{}
			for id := pinetree.NodeID(1); id <= 3; id++ {
				nodes[id] = start(t, b, id, func(_ *node, cfg *Config) { cfg.Mode = mode })
			}
			const each = 3000
			for i := range uint64(each) {
				for _, r := range []route{{1, 2}, {2, 3}, {3, 1}} {
					nodes[r.from].Send(r.to, []wirepb.GroupMessage{r.message(raftpb.MsgApp, i, 500), r.message(raftpb.MsgHeartbeat, i, 0)})
				}
			}
			for id, n := range nodes {
				n.await(t, "all messages", func() bool { return len(n.received) == 2*each })
				for _, kind := range []raftpb.MessageType{raftpb.MsgApp, raftpb.MsgHeartbeat} {
					if !slices.Equal(n.indexes(kind), rising(each)) {
						t.Errorf("node %d: %s out of order or not once", id, kind)
					}
				}
				good := func(s LaneStats) bool {
					return s.DroppedFull+s.DroppedDown == 0 && s.SentMessages == each && s.SentFrames <= each && s.Connected
				}
				eventually(t, "counts", func() bool { return !slices.ContainsFunc(n.Stats(), func(s LaneStats) bool { return !good(s) }) })
			}
		})
	}
}

// An acknowledgement is a few bytes, but it shares memory with the append that it
// answers.
func TestWhatWasSentIsForgotten(t *testing.T) {
	b := &book{}
	sender := start(t, b, 1, nil)
	receiver := start(t, b, 2, nil)
	const sent = 500
	var collected atomic.Int64
	for i := range uint64(sent) {
		m := route{1, 2}.message(raftpb.MsgAppResp, i, 0)
		runtime.AddCleanup(m.Message, func(n *atomic.Int64) { n.Add(1) }, &collected)
		sender.Send(2, []wirepb.GroupMessage{m})
	}
	receiver.await(t, "all messages", func() bool { return len(receiver.received) == sent })
	eventually(t, "the memory of most messages to be free", func() bool {
		runtime.GC()
		return collected.Load() > sent*9/10
	})
}

func TestHeartbeatsPassABlockedBulkLane(t *testing.T) {
	for mode, name := range modes {
		t.Run(name, func(t *testing.T) {
			b, release := &book{}, make(chan struct{})
			free := sync.OnceFunc(func() { close(release) })
			sender := start(t, b, 1, func(_ *node, cfg *Config) { cfg.Mode, cfg.SendTimeout = mode, time.Minute })
			receiver := start(t, b, 2, func(n *node, cfg *Config) {
				cfg.Deliver = func(messages []wirepb.GroupMessage) {
					if messages[0].Message.GetType() == raftpb.MsgApp {
						<-release
					}
					n.deliver(messages)
				}
			})
			t.Cleanup(free)
			r := route{1, 2}
			const appends, heartbeats = 48, 50
			for i := range uint64(appends) {
				sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, i, 512<<10)})
			}
			for i := range uint64(heartbeats) {
				for _, kind := range []raftpb.MessageType{raftpb.MsgHeartbeat, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgTimeoutNow, raftpb.MsgReadIndexResp} {
					sender.Send(2, []wirepb.GroupMessage{r.message(kind, i, 0)})
				}
				receiver.await(t, "urgent messages past a blocked bulk lane", func() bool { return len(receiver.received) == 5*(int(i)+1) })
			}
			free()
			receiver.await(t, "the blocked appends", func() bool { return slices.Equal(receiver.indexes(raftpb.MsgApp), rising(appends)) })
		})
	}
}

func TestAPeerThatGoesIsReportedAndFoundAgainAtItsNewAddress(t *testing.T) {
	for mode, name := range modes {
		t.Run(name, func(t *testing.T) {
			b, r := &book{}, route{1, 2}
			sender := start(t, b, 1, func(_ *node, cfg *Config) { cfg.Mode = mode })
			first := start(t, b, 2, nil)
			sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, 0, 10), r.message(raftpb.MsgApp, 1, 10)})
			first.await(t, "the first messages", func() bool { return len(first.received) == 2 })
			first.stop()
			if mode == ModeUnary {
				sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, 0, 10), r.message(raftpb.MsgApp, 1, 10)})
			}
			// In the other modes it is noticed with nothing more to send.
			sender.await(t, "the report of the groups that may have lost messages", func() bool {
				return slices.ContainsFunc(sender.unreachable, func(groups []pinetree.GroupID) bool { return slices.Equal(groups, []pinetree.GroupID{1, 2}) })
			})
			for i := range uint64(20) {
				sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, i, 10)})
				time.Sleep(5 * time.Millisecond)
			}
			second := start(t, b, 2, nil)
			eventually(t, "messages to the restarted peer", func() bool {
				sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, 100, 10)})
				second.mu.Lock()
				defer second.mu.Unlock()
				return len(second.received) > 0
			})
			if !strings.Contains(sender.log.String(), "peer not reached") {
				t.Errorf("the failure was not logged: %s", sender.log)
			}
			for _, s := range sender.Stats() {
				if s.Lane == "bulk" && (s.DroppedDown == 0 || s.Failures == 0) {
					t.Errorf("messages were lost and not counted: %+v", s)
				}
			}
		})
	}
}

// entryMessage is an append from node 1 to node 2 that ends with a batch.
func entryMessage(t *testing.T) []byte {
	t.Helper()
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{LSN: 9, Payload: []byte("a record")}})
	if err != nil {
		t.Fatal(err)
	}
	m := route{1, 2}.message(raftpb.MsgApp, 1, 0)
	m.Message.Entries = []*raftpb.Entry{{Data: storepb.EncodeBatches([]pinetree.Batch{b})}}
	return wirepb.AppendGroupMessage(nil, m)
}

func TestForeignFramesAreRefused(t *testing.T) {
	b := &book{}
	receiver := start(t, b, 2, nil)
	conn, err := grpc.NewClient(receiver.addr, DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := wirepb.NewRaftTransportClient(conn)
	good := wirepb.AppendGroupMessage(nil, route{1, 2}.message(raftpb.MsgHeartbeat, 1, 0))
	elsewhere := wirepb.AppendGroupMessage(good, route{1, 3}.message(raftpb.MsgHeartbeat, 1, 0))
	damaged := entryMessage(t)
	damaged[len(damaged)-1] ^= 1
	forged := wirepb.AppendGroupMessage(good, route{3, 2}.message(raftpb.MsgHeartbeat, 1, 0))
	for _, test := range []struct {
		frame *wirepb.RaftFrame
		is    error
		says  string
	}{
		{&wirepb.RaftFrame{Cluster: "other", From: 1, To: 2, Messages: good}, pinetree.ErrBadBatch, `cluster "other"`},
		{&wirepb.RaftFrame{Cluster: "test", From: 1, To: 3, Messages: good}, pinetree.ErrBadBatch, "for node 3, this is node 2"},
		{&wirepb.RaftFrame{Cluster: "test", From: 2, To: 2, Messages: good}, pinetree.ErrBadBatch, "two nodes run under one id"},
		{&wirepb.RaftFrame{Cluster: "test", To: 2, Messages: good}, pinetree.ErrBadBatch, "from node 0"},
		{&wirepb.RaftFrame{Cluster: "test", From: 1, To: 2, Messages: elsewhere}, pinetree.ErrBadBatch, "from 1 to 3"},
		{&wirepb.RaftFrame{Cluster: "test", From: 1, To: 2, Messages: forged}, pinetree.ErrBadBatch, "from 3 to 2"},
		{&wirepb.RaftFrame{Cluster: "test", From: 1, To: 2, Messages: good[:len(good)-1]}, pinetree.ErrCorrupt, "from node 1 refused"},
		{&wirepb.RaftFrame{Cluster: "test", From: 1, To: 2, Messages: damaged}, pinetree.ErrCorrupt, "CRC32C"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, unary := client.Deliver(ctx, test.frame)
		stream, err := client.Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(test.frame); err != nil {
			t.Fatal(err)
		}
		streamed := stream.RecvMsg(&wirepb.RaftReply{})
		cancel()
		for _, err := range []error{wirepb.FromError(unary), wirepb.FromError(streamed), refusedTCP(t, receiver, test.frame)} {
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("want %v saying %q, got %v", test.is, test.says, err)
			}
		}
	}
	if len(receiver.received) != 0 {
		t.Errorf("delivered: %v", receiver.received)
	}
}

func TestTheWrongClusterIsSaidInTheSendersLog(t *testing.T) {
	b, r := &book{}, route{1, 2}
	start(t, b, 2, func(_ *node, cfg *Config) { cfg.Cluster = "other" })
	sender := start(t, b, 1, nil)
	sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgHeartbeat, 1, 0)})
	sender.await(t, "the refusal", func() bool { return len(sender.unreachable) > 0 })
	eventually(t, "the reason in the log", func() bool { return strings.Contains(sender.log.String(), `this node is of cluster \"other\"`) })
}

// blackHole accepts connections in the kernel and never answers.
func blackHole(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestAFullQueueDropsAndCounts(t *testing.T) {
	b, r := &book{}, route{1, 2}
	b.set(2, blackHole(t))
	const limit = 10
	for name, limits := range map[string]QueueLimits{"messages": {MaxMessages: limit}, "bytes": {MaxBytes: limit * 1200}} {
		t.Run(name, func(t *testing.T) {
			sender := start(t, b, 1, func(_ *node, cfg *Config) { cfg.Bulk, cfg.ConnectTimeout = limits, 100*time.Millisecond })
			const sent = 500
			for i := range uint64(sent) {
				sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, i, 1000)})
				if s := bulk(sender); s.QueuedMessages > limit || s.QueuedBytes > limit*1200 {
					t.Fatalf("over the limit: %+v", s)
				}
			}
			if s := bulk(sender); s.DroppedFull == 0 {
				t.Errorf("nothing dropped: %+v", s)
			}
			sender.await(t, "the report", func() bool { return len(sender.unreachable) > 0 })
			eventually(t, "every message accounted for", func() bool {
				s := bulk(sender)
				return s.DroppedFull+s.DroppedDown == sent && s.QueuedMessages+s.QueuedBytes == 0
			})
		})
	}
}

func TestOneLargeMessageAlwaysFits(t *testing.T) {
	b, r := &book{}, route{1, 2}
	sender := start(t, b, 1, func(_ *node, cfg *Config) { cfg.Bulk = QueueLimits{MaxBytes: 1000} })
	receiver := start(t, b, 2, nil)
	sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, 0, 9<<20)})
	receiver.await(t, "a message of 9 MiB", func() bool { return len(receiver.received) == 1 })
	sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, 1, maxFrameBytes)})
	if s := bulk(sender); s.DroppedFull != 1 {
		t.Errorf("a message that no receiver accepts was queued: %+v", s)
	}
}

func TestASlowPeerIsGivenUpAfterTheSendTimeout(t *testing.T) {
	for mode, name := range modes {
		t.Run(name, func(t *testing.T) {
			b, r, release := &book{}, route{1, 2}, make(chan struct{})
			sender := start(t, b, 1, func(_ *node, cfg *Config) { cfg.Mode, cfg.SendTimeout = mode, 100*time.Millisecond })
			start(t, b, 2, func(_ *node, cfg *Config) { cfg.Deliver = func([]wirepb.GroupMessage) { <-release } })
			t.Cleanup(func() { close(release) })
			for i := range uint64(32) {
				sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, i, 1<<20)})
			}
			sender.await(t, "the report", func() bool { return len(sender.unreachable) > 0 })
			eventually(t, "the reason in the log", func() bool { return strings.Contains(sender.log.String(), "took no frame for 100ms") })
		})
	}
}

func TestAnUnknownAddressLosesMessagesWithoutHarm(t *testing.T) {
	b, r := &book{}, route{1, 2}
	sender := start(t, b, 1, nil)
	sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgApp, 4, 10)})
	sender.await(t, "the report", func() bool {
		return len(sender.unreachable) == 1 && slices.Equal(sender.unreachable[0], []pinetree.GroupID{2})
	})
}

func TestCloseEndsEverythingWhileTheServerRuns(t *testing.T) {
	b := &book{}
	nodes := []*node{start(t, b, 1, nil), start(t, b, 2, nil)}
	for i := range uint64(100) {
		nodes[0].Send(2, []wirepb.GroupMessage{route{1, 2}.message(raftpb.MsgApp, i, 100)})
		nodes[1].Send(1, []wirepb.GroupMessage{route{2, 1}.message(raftpb.MsgApp, i, 100)})
	}
	for _, n := range nodes {
		n.await(t, "messages", func() bool { return len(n.received) == 100 })
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = nodes[0].Close()
		nodes[0].server.GracefulStop() // returns only when no handler runs
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close waits for ever")
	}
	received := len(nodes[0].received) // no lock: the race detector sees a delivery after Close
	nodes[0].Send(2, []wirepb.GroupMessage{route{1, 2}.message(raftpb.MsgApp, 1, 100)})
	if err := nodes[0].Close(); err != nil {
		t.Fatal(err)
	}
	if received != 100 {
		t.Errorf("received %d", received)
	}
}

// eventually waits for what no callback tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func bulk(n *node) LaneStats {
	for _, s := range n.Stats() {
		if s.Lane == "bulk" {
			return s
		}
	}
	return LaneStats{}
}

// TestQuestionsToAQuorumAreNoBatches sends the marks of read requests, which raft
// carries as entries: whatever their first byte is, they are no commands.
func TestQuestionsToAQuorumAreNoBatches(t *testing.T) {
	b := &book{}
	from, to := start(t, b, 1, nil), start(t, b, 2, nil)
	for i := range uint64(256) {
		for _, kind := range []raftpb.MessageType{raftpb.MsgReadIndex, raftpb.MsgReadIndexResp} {
			m := route{1, 2}.message(kind, i, 0)
			m.Message.Entries = []*raftpb.Entry{{Data: append([]byte{byte(i)}, make([]byte, 23)...)}}
			from.Send(2, []wirepb.GroupMessage{m})
		}
	}
	to.await(t, "all questions and answers", func() bool { return len(to.received) == 2*256 })
}

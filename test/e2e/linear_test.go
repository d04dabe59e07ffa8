package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// access is one read or write of a key, as its client saw it.
type access struct {
	key   string
	write bool
	value string // written
}

// registers is the model: each key holds what was last written.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(access).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(access); in.write {
			return true, in.value
		}
		return output == state, state
	},
	DescribeOperation: func(input, output any) string {
		if in := input.(access); in.write {
			return fmt.Sprintf("put %s=%s", in.key, in.value)
		}
		return fmt.Sprintf("get %s=%v", input.(access).key, output)
	},
}

// history is what all clients saw.
type history struct {
	began time.Time
	mu    sync.Mutex
	list  []porcupine.Operation
	level map[pinetree.ReadLevel]int // how many reads were answered at which
}

func (h *history) now() int64 { return int64(time.Since(h.began)) }

func (h *history) add(o porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, o)
}

// write puts counted values under random keys, one after the other, until ctx
// ends. A write without an answer may still happen at any later time.
func (h *history) write(ctx context.Context, w *ship.Writer) error {
	random := rand.New(rand.NewPCG(h.seed(), 0))
	var tail pinetree.LSN
	for n := 1; ctx.Err() == nil; n++ {
		in := access{key: fmt.Sprintf("k%d", random.IntN(4)), write: true, value: fmt.Sprint(n)}
		redo, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{{Op: &storepb.RedoOp_KeyPut{
			KeyPut: &storepb.KeyPut{Key: []byte(in.key), Value: []byte(in.value)},
		}}}})
		if err != nil {
			return err
		}
		o := porcupine.Operation{ClientId: 0, Input: in, Call: h.now(), Return: math.MaxInt64}
		err = w.Append(ctx, pinetree.Record{Prev: tail, LSN: tail + 1, Payload: redo})
		if err == nil {
			tail++
			err = w.WaitDurable(ctx, tail)
		}
		if err == nil {
			o.Return = h.now()
		}
		h.add(o)
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (h *history) seed() uint64 { return uint64(h.began.UnixNano()) }

// read gets random keys until ctx ends. What fails was never seen.
func (h *history) read(ctx context.Context, id int, r *ship.Reader) {
	random := rand.New(rand.NewPCG(h.seed(), uint64(id)))
	for ctx.Err() == nil {
		in := access{key: fmt.Sprintf("k%d", random.IntN(4))}
		call := h.now()
		limit, cancel := context.WithTimeout(ctx, time.Second)
		got, err := r.Key(limit, []byte(in.key))
		cancel()
		if err != nil && !errors.Is(err, pinetree.ErrNotFound) {
			continue
		}
		h.add(porcupine.Operation{ClientId: id, Input: in, Call: call, Output: string(got.Value), Return: h.now()})
		h.mu.Lock()
		h.level[got.Level]++
		h.mu.Unlock()
		time.Sleep(time.Duration(random.IntN(2000)) * time.Microsecond)
	}
}

// trouble does bad things to nodes, and moves the leader, until ctx ends.
func (c *cluster) trouble(ctx context.Context, random *rand.Rand, group uint64) {
	for ctx.Err() == nil {
		n := c.nodes[random.IntN(len(c.nodes))]
		if leader, err := c.leader(group); err == nil && random.IntN(2) == 0 {
			n = leader
		}
		switch random.IntN(4) {
		case 0:
			// Mostly long enough for another leader to serve meanwhile.
			c.isolate(n, true)
			time.Sleep(time.Duration(1000+random.IntN(2500)) * time.Millisecond)
			c.isolate(n, false)
		case 1:
			// A refused move is as good as a made one here.
			_, _ = c.manages().MoveLeader(c.within(3*time.Second), &wirepb.MoveLeaderRequest{Group: group})
		default:
			c.harm(random)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// TestReadsAreLinearizable checks default and consistent reads against writes,
// while nodes are killed, paused and cut off and the leader moves.
func TestReadsAreLinearizable(t *testing.T) {
	length := 10 * time.Second
	if full() {
		length = 2 * time.Minute
	}
	c := startCluster(t, 3)
	volume := c.createVolume("keys", pinetree.FormatRedo)
	h := &history{began: time.Now(), level: map[pinetree.ReadLevel]int{}}
	t.Logf("seed %d", h.seed())
	w, err := c.client("keys").OpenWriter(c.within(20*time.Second), ship.WriterConfig{RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var wait sync.WaitGroup
	var wrote error
	wait.Go(func() { wrote = h.write(ctx, w) })
	reader := c.client("keys")
	for id := 1; id <= 8; id++ {
		cfg := ship.ReadConfig{Level: pinetree.ReadDefault}
		switch {
		case id <= 3: // also of a leader that is none any more
			cfg.Node = pinetree.NodeID(id)
		case id <= 6:
			cfg = ship.ReadConfig{Level: pinetree.ReadConsistent, Node: pinetree.NodeID(id - 3)}
		}
		wait.Go(func() { h.read(ctx, id, reader.Reader(cfg)) })
	}
	c.trouble(ctx, rand.New(rand.NewPCG(h.seed(), 7)), volume.Group)
	wait.Wait()
	if wrote != nil {
		t.Fatalf("the writer ended: %v", wrote)
	}
	t.Logf("%d operations, reads by level: %v", len(h.list), h.level)
	if h.level[pinetree.ReadDefault] == 0 || h.level[pinetree.ReadConsistent] == 0 {
		t.Error("a level was never answered, so this run shows nothing of it")
	}
	if result := porcupine.CheckOperationsTimeout(registers, h.list, time.Minute); result != porcupine.Ok {
		t.Errorf("the history is not linearizable: %v", result)
	}
}

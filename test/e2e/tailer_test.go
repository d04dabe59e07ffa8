package e2e

import (
	"bufio"
	"cmp"
	"context"
	varint "encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// tailerEnv tells this program to be a process that only has tails open, and as
// JSON which ones.
const tailerEnv = "PINETREE_E2E_TAILER"

// tailerPlan is what a tailer does. Streams share connections.
type tailerPlan struct {
	Addresses []string // of nodes, which get equal parts of the tails
	Volume    uint64
	Live      int          // tails that begin at From
	From      pinetree.LSN // a batch ends there
	Behind    int          // tails that begin at the log's base
	Streams   int          // on a connection
}

// tailerReport is what tails have seen up to where the log ended.
type tailerReport struct {
	Live, Behind int // complete ones
	// Digests of the batches of the one and of the other; more than one means that
	// tails did not see the same.
	LiveDigests, BehindDigests []uint32
	Wrong                      []string
	Messages                   int64 // that were received
	Resumes                    int   // after a stream broke
}

// headers is a message of a tail of which nothing is read but the batches' headers.
type headers struct{ take func(header []byte) }

// headerCodec reads headers.
type headerCodec struct{ wirepb.Codec }

func (c headerCodec) Unmarshal(data mem.BufferSlice, v any) error {
	h, ok := v.(*headers)
	if !ok {
		return c.Codec.Unmarshal(data, v)
	}
	r := data.Reader()
	defer r.Close()
	var header [storepb.BatchHeaderBytes]byte
	for r.Remaining() > 0 {
		tag, err := varint.ReadUvarint(r)
		if err != nil {
			return err
		}
		value, err := varint.ReadUvarint(r)
		if err != nil {
			return err
		}
		switch tag {
		case 2 << 3: // applied_lsn
		case 1<<3 | 2: // batches
			if _, err := io.ReadFull(r, header[:]); err != nil {
				return err
			}
			if _, err := r.Discard(int(value) - len(header)); err != nil {
				return err
			}
			h.take(header[:])
		default:
			return fmt.Errorf("unexpected field, tag %d", tag)
		}
	}
	return nil
}

// running is one tail, as its stream's goroutine sees it.
type running struct {
	live bool
	from pinetree.LSN

	mu       sync.Mutex
	at       pinetree.LSN
	digest   uint32
	messages int64
	resumes  int
	err      error
}

// take notes a batch by its header, which has the checksum of all of it.
func (t *running) take(header []byte) {
	b, _, err := storepb.PeekHeader(header)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil:
	case err != nil:
		t.err = err
	case b.Prev != t.at:
		t.err = fmt.Errorf("batch (%s, %s] follows on %s", b.Prev, b.LSN, t.at)
	default:
		t.at, t.digest = b.LSN, crc32.Update(t.digest, storepb.Castagnoli, header)
	}
}

func (t *running) state() (pinetree.LSN, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at, t.err
}

// maxResumes is how often in a row a tail tries to go on, ten times a second, when
// nothing comes.
const maxResumes = 600

// run receives until the process ends. A connection that breaks, because this
// process found no processor for seconds, is no fault of the log: the tail goes on
// after what it has, as any client does.
func (t *running) run(conn *grpc.ClientConn, volume uint64) {
	for tries := 0; ; tries++ {
		before, _ := t.state()
		err := t.receive(conn, volume)
		at, wrong := t.state()
		if at > before {
			tries = 0
		}
		if wrong != nil || tries >= maxResumes {
			t.mu.Lock()
			t.err = cmp.Or(t.err, err)
			t.mu.Unlock()
			return
		}
		t.mu.Lock()
		t.resumes++
		t.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
}

// receive receives from one stream until it breaks.
func (t *running) receive(conn *grpc.ClientConn, volume uint64) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	at, _ := t.state()
	desc := &grpc.StreamDesc{ServerStreams: true}
	stream, err := conn.NewStream(ctx, desc, wirepb.Reads_Tail_FullMethodName, grpc.ForceCodecV2(headerCodec{}))
	if err != nil {
		return err
	}
	err = stream.SendMsg(&wirepb.TailRequest{
		Volume: volume, From: uint64(at), Follow: true, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE},
	})
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		err = stream.RecvMsg(&headers{t.take})
		t.mu.Lock()
		t.messages++
		err = cmp.Or(err, t.err)
		t.mu.Unlock()
	}
	return err
}

// tailer opens the tails, and then does what each line of its input says: "live L"
// and "all L" are answered when the live tails, or all, are at an LSN, and "end L"
// with a report.
func tailer(plan string) int {
	var p tailerPlan
	if err := json.Unmarshal([]byte(plan), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	tails, err := p.open()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var what string
		var lsn uint64
		if _, err := fmt.Sscanf(input.Text(), "%s %d", &what, &lsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		reach(tails, pinetree.LSN(lsn), what == "live")
		answer := any(what)
		if what == "end" {
			answer = sum(tails, pinetree.LSN(lsn))
		}
		if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
			return 1
		}
	}
	return 0
}

// tailerOptions are those with which adapter/ship dials. With grpc-go's own, a
// client answers each 16 KiB with a window update: as many wake-ups of a node as the
// log itself.
func tailerOptions() []grpc.DialOption {
	const window = 4 << 20
	return append(wirepb.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(4*window))
}

// open starts the tails.
func (p tailerPlan) open() ([]*running, error) {
	var tails []*running
	conns := map[string]*grpc.ClientConn{} // the newest of each node
	opened := map[string]int{}
	for i := range p.Live + p.Behind {
		address := p.Addresses[i%len(p.Addresses)]
		if opened[address]%p.Streams == 0 {
			conn, err := grpc.NewClient("passthrough:///"+address, tailerOptions()...)
			if err != nil {
				return nil, err
			}
			conns[address] = conn
		}
		opened[address]++
		// Those that are behind are spread over the nodes, too.
		t := &running{live: i < p.Live}
		if t.live {
			t.from = p.From
		}
		t.at = t.from
		tails = append(tails, t)
		go t.run(conns[address], p.Volume)
	}
	return tails, nil
}

// reach waits until tails are at an LSN, or have failed.
func reach(tails []*running, lsn pinetree.LSN, onlyLive bool) {
	for _, t := range tails {
		for t.live || !onlyLive {
			if at, err := t.state(); at >= lsn || err != nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// sum tells what the tails have seen up to the end.
func sum(tails []*running, end pinetree.LSN) tailerReport {
	var r tailerReport
	add := func(list []uint32, d uint32) []uint32 {
		for _, known := range list {
			if known == d {
				return list
			}
		}
		return append(list, d)
	}
	for i, t := range tails {
		t.mu.Lock()
		r.Messages += t.messages
		r.Resumes += t.resumes
		switch {
		case t.err != nil || t.at != end:
			if len(r.Wrong) < 10 {
				r.Wrong = append(r.Wrong, fmt.Sprintf("tail %d from %s is at %s: %v", i, t.from, t.at, t.err))
			}
		case t.live:
			r.Live++
			r.LiveDigests = add(r.LiveDigests, t.digest)
		default:
			r.Behind++
			r.BehindDigests = add(r.BehindDigests, t.digest)
		}
		t.mu.Unlock()
	}
	return r
}

package ship

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ferry"
	"github.com/pinetree-db/pinetree/adapter/picker"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Config tells a Client which volume it is for. Zero values other than those of
// Managers and Volume stand for the defaults.
type Config struct {
	// Managers are the addresses of cluster managers; any one that answers is
	// enough, and none is needed once a route is known.
	Managers []string
	// Volume is the volume's name.
	Volume string
	// ID, when not zero, is what the volume is found by instead of its name.
	ID pinetree.VolumeID
	// Zone is where this process runs. Stale and consistent reads prefer its
	// replicas.
	Zone string

	// ManagerTimeout bounds the asking of all managers, side by side; default
	// 1 s. ConnectTimeout bounds the making of a connection; default 1 s.
	ManagerTimeout, ConnectTimeout time.Duration
	// AttemptTimeout bounds one call to one node, after which the next node is
	// asked; default 2 s.
	AttemptTimeout time.Duration
	// RetryFor is how long a call goes on trying when nobody can serve it, or a
	// Tail without progress; default 30 s. The caller's context may end it
	// earlier.
	RetryFor time.Duration

	// RouteEvery is how often the managers are asked for the route again while
	// reads are made; default 5 s.
	RouteEvery time.Duration
	// RouteFile, when set, holds the last route, so that a client can start while
	// no manager answers. Each volume needs a file of its own.
	RouteFile string
	// Hedge tells when a stale or consistent read that is late is sent to a second
	// replica, too.
	Hedge picker.Hedging
	// Gather tells when reads of single pages that are under way at once, from
	// Readers with equal settings, share a call. One that finds few others goes at
	// once by itself; errors are still those of each read. Reads of pages and keys go
	// over streams that stay open, too. Switch it off where the contexts of reads carry
	// what a node or an interceptor is to see of each one, such as credentials or
	// traces: what is shared has none of theirs.
	Gather ferry.Gathering

	// Dial adds to the options of every connection, for credentials.
	Dial []grpc.DialOption
	// Connections, when set, are used instead of connections of the Client's
	// own, and stay open when it is closed.
	Connections *Connections
	Logger      *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.ID != 0 && c.Volume == "" {
		c.Volume = fmt.Sprint(c.ID)
	}
	if len(c.Managers) == 0 || c.Volume == "" {
		return c, fmt.Errorf("%w: a client needs the address of a cluster manager and the name of a volume", pinetree.ErrBadBatch)
	}
	c.ManagerTimeout = cmp.Or(c.ManagerTimeout, time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, time.Second)
	c.AttemptTimeout = cmp.Or(c.AttemptTimeout, 2*time.Second)
	c.RetryFor = cmp.Or(c.RetryFor, 30*time.Second)
	c.RouteEvery = cmp.Or(c.RouteEvery, 5*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c, nil
}

const (
	// firstDelay and maxDelay bound the waits between attempts: short, because
	// a new leader is ready within a second and everybody waits for it.
	firstDelay = 5 * time.Millisecond
	maxDelay   = 200 * time.Millisecond
	// maxMessageBytes bounds an answer: a slice of the log with one batch of
	// the largest size.
	maxMessageBytes = 64 << 20
	// window is how much of a stream may be under way and not taken yet.
	window = 4 << 20
)

func (c Config) dialOptions() []grpc.DialOption {
	options := append(wirepb.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(4*window),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstDelay, Multiplier: 2, Jitter: 0.2, MaxDelay: maxDelay},
			MinConnectTimeout: c.ConnectTimeout,
		}),
		// Notices a machine that vanished under a stream that only receives.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithChainUnaryInterceptor(wirepb.UnaryClientErrors),
		grpc.WithChainStreamInterceptor(wirepb.StreamClientErrors),
	)
	return append(options, c.Dial...)
}

// WriterConfig tells how a Writer is opened and how it ships. The zero value
// opens the next compute term with the defaults.
type WriterConfig struct {
	// Term is the compute term to open, which must be higher than any that was
	// opened before; zero asks for the next one.
	Term pinetree.ComputeTerm
	// Base is where the log of a volume without records begins.
	Base pinetree.LSN

	// BatchBytes is the size at which a batch is full; default 256 KiB. Records
	// that were appended together stay together, in a larger batch if need be.
	BatchBytes int
	// WindowBytes bounds what is appended and not yet acknowledged; beyond it
	// Append waits. Default 32 MiB. One Append always fits.
	WindowBytes int
	// SmallBatches is how many batches may be in flight while the next one is
	// not full; default 2. Fewer make larger batches, more make shorter waits.
	SmallBatches int
	// Compress has batches compressed that become smaller by it: all the way to
	// every disk and reader they take fewer bytes. Every node and reader must
	// understand it, as this version and later ones do.
	Compress bool
	// RetryFor is how long the Writer tries without progress before it gives
	// up; default the client's.
	RetryFor time.Duration
	// StallAfter is how long a leader may acknowledge nothing of what it was
	// sent before the route is asked for again; default 2 s. It doubles, up to
	// eightfold, while that does not help.
	StallAfter time.Duration
	// Acked, when set, hears of every acknowledged batch, in order. It is
	// called by the Writer's goroutine and must not block.
	Acked func(Acked)
}

// Acked is a batch that has become durable.
type Acked struct {
	LSN     pinetree.LSN
	Records int
	Bytes   int // as encoded
	// Node is the leader that said so; zero when it was found out by asking what
	// became of the batch.
	Node pinetree.NodeID
	// Latency is the time from the first sending to the acknowledgement, over
	// all lost connections and changes of leader between.
	Latency time.Duration
}

func (c WriterConfig) withDefaults(client Config) WriterConfig {
	c.BatchBytes = cmp.Or(c.BatchBytes, 256<<10)
	c.WindowBytes = cmp.Or(c.WindowBytes, 32<<20)
	c.SmallBatches = cmp.Or(c.SmallBatches, 2)
	c.RetryFor = cmp.Or(c.RetryFor, client.RetryFor)
	c.StallAfter = cmp.Or(c.StallAfter, 2*time.Second)
	if c.Acked == nil {
		c.Acked = func(Acked) {}
	}
	return c
}

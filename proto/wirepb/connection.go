package wirepb

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
)

const (
	// socketBytes is how much is read from or written to a connection at once.
	// The log comes in runs of hundreds of KiB; with grpc-go's default of
	// 32 KiB a quarter of the time went into system calls.
	socketBytes = 128 << 10
	// frameBytes is the size of a full HTTP/2 data frame of grpc-go.
	frameBytes = 16 << 10
)

// callWorkers are the goroutines that serve calls one after the other. A new
// goroutine for each call grows its stack anew, a sixth of the CPU time of a
// node that serves reads. Calls beyond so many at once get one of their own, and
// so do all while that many streams go on.
const callWorkers = 64

// DialOptions make connections fit for the log: with Codec, and buffers of its
// sizes.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec{})),
		grpc.WithReadBufferSize(socketBytes), grpc.WithWriteBufferSize(socketBytes),
		experimental.WithBufferPool(frames),
	}
}

// StreamOptions is what every client stream with more than one request is opened
// with. grpc-go keeps what was sent, so that it can send it again by itself, until
// the server answers; a stream that carries the log may never be answered. 256 KiB
// of acknowledgements, which share memory with the appends that they answer, kept
// a gigabyte of those from the garbage collector.
func StreamOptions() []grpc.CallOption {
	return []grpc.CallOption{grpc.MaxRetryRPCBufferSize(0)}
}

// ServerOptions make a server fit for the log, as DialOptions do.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec{}),
		grpc.ReadBufferSize(socketBytes), grpc.WriteBufferSize(socketBytes),
		grpc.NumStreamWorkers(callWorkers),
		experimental.BufferPool(frames),
	}
}

// frames lends the buffers into which grpc-go reads data frames. Its own pool
// clears every buffer that it lends, which is as much work as to read into it.
var frames = &framePool{}

// framePool is a mem.BufferPool of buffers of one data frame. Others are left
// to the garbage collector.
type framePool struct{ pool sync.Pool }

var _ mem.BufferPool = frames

// Get implements mem.BufferPool.
func (p *framePool) Get(length int) *[]byte {
	if length > frameBytes {
		b := make([]byte, length)
		return &b
	}
	b, _ := p.pool.Get().(*[]byte)
	if b == nil {
		fresh := make([]byte, frameBytes)
		b = &fresh
	}
	*b = (*b)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p *framePool) Put(b *[]byte) {
	if cap(*b) == frameBytes {
		p.pool.Put(b)
	}
}

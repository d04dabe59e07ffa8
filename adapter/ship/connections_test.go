package ship

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
)

// TestClientsShareConnections: those that name the same Connections dial each
// address once, and the end of one leaves the others theirs.
func TestClientsShareConnections(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	dialled := map[string]int{}
	count := grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		mu.Lock()
		dialled[addr]++
		mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	})
	shared := new(Connections)
	share := func(c *Config) {
		c.Connections, c.Dial = shared, append(c.Dial, count)
	}
	first, second := w.dial(share), w.dial(share)
	for _, c := range []*Client{first, second} {
		if _, err := c.OpenWriter(context.Background(), WriterConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(dialled) < 2 {
		t.Errorf("a manager and a leader were called, dialled was %v", dialled)
	}
	for addr, n := range dialled {
		if n != 1 {
			t.Errorf("%s was dialled %d times by two clients", addr, n)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.OpenWriter(context.Background(), WriterConfig{}); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("a client that was closed says %v", err)
	}
	writer, err := second.OpenWriter(context.Background(), WriterConfig{})
	if err != nil {
		t.Fatalf("the other client after the end of the first: %v", err)
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := shared.Close(); err != nil {
		t.Error(err)
	}
	if _, err := shared.to("127.0.0.1:1", Config{}.dialOptions); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("connections that were closed say %v", err)
	}
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a manager and a node in one, with one volume, pg. Its id changes when it
// is deleted and made again.
type cluster struct {
	wirepb.UnimplementedManagerServer
	wirepb.UnimplementedMetaServer
	address string
	volume  atomic.Uint64
	large   atomic.Int64 // bytes of each value, beside the volume's id
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{address: listener.Addr().String()}
	c.volume.Store(1)
	server := grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors))
	wirepb.RegisterManagerServer(server, c)
	wirepb.RegisterMetaServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return c
}

// Route implements wirepb.ManagerServer.
func (c *cluster) Route(_ context.Context, q *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	if q.GetVolumeName() != "pg" {
		return nil, fmt.Errorf("%w: %q", pinetree.ErrUnknownVolume, q.GetVolumeName())
	}
	return &wirepb.RouteResponse{
		Volume: &wirepb.VolumeInfo{Volume: c.volume.Load(), Group: 1, Name: "pg"}, Leader: 1,
		Replicas: []*wirepb.NodeInfo{{Node: 1, Address: c.address}},
	}, nil
}

// MetaRange implements wirepb.MetaServer: every key has the volume's id as its value.
func (c *cluster) MetaRange(_ context.Context, q *wirepb.MetaRangeRequest) (*wirepb.MetaRangeResponse, error) {
	id := c.volume.Load()
	if q.GetVolume() != id {
		return nil, fmt.Errorf("%w: %d", pinetree.ErrUnknownVolume, q.GetVolume())
	}
	value := append(fmt.Append(nil, id), make([]byte, c.large.Load())...)
	item := &wirepb.MetaItem{Key: q.GetKey(), Value: value, Version: 1, Created: 1, Modified: 1}
	return &wirepb.MetaRangeResponse{Served: &wirepb.Served{Node: 1}, Revision: 1, Items: []*wirepb.MetaItem{item}}, nil
}

// TestAVolumeThatWasMadeAgainIsFoundByItsName: a request may hear that the volume is
// gone, and the next one finds the new one.
func TestAVolumeThatWasMadeAgainIsFoundByItsName(t *testing.T) {
	for way, path := range map[string]string{
		"plain": "/v1/volumes/pg/keys/config",
		"JSON":  "/v1/volumes/pg/meta?key=Y29uZmln",
	} {
		t.Run(way, func(t *testing.T) {
			c := newCluster(t)
			g, err := New(Config{Managers: []string{c.address}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			}()
			get := func() (int, error) {
				answer := httptest.NewRecorder()
				g.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
				if answer.Code != http.StatusOK {
					return answer.Code, errors.New(answer.Body.String())
				}
				return answer.Code, nil
			}
			if _, err := get(); err != nil {
				t.Fatal(err)
			}
			c.volume.Store(2)
			if code, err := get(); code != http.StatusNotFound && code != http.StatusOK {
				t.Errorf("the volume is being made again: %d %v", code, err)
			}
			if code, err := get(); err != nil {
				t.Errorf("the volume was made again: %d %v", code, err)
			}
		})
	}
}

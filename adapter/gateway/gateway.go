// Package gateway serves the metadata of a cluster's volumes over HTTP: the Meta
// service as JSON, as proto/gatewaypb describes it, and keys as plain bytes for
// programs that have nothing but HTTP. It is a client of the cluster, so it can run
// anywhere: whatever a volume's leader is to answer is sent there. It says errors
// as JSON, with the reason and what to do.
package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/gatewaypb"
)

// Config says which cluster is served. Zero values other than that of Managers
// stand for the defaults.
type Config struct {
	Managers []string
	// Zone is where the gateway runs: reads that need no leader prefer its replicas.
	Zone string
	// Dial adds to the options of every connection, for credentials.
	Dial []grpc.DialOption
	// RetryFor is how long a call goes on trying when nobody can serve it; default
	// 10 s.
	RetryFor time.Duration
	// MaxVolumes bounds the volumes that are used at the same moment; default 1,024.
	MaxVolumes int
	// MaxWatches bounds the watches at the same moment; default 1,024.
	MaxWatches int
	Logger     *slog.Logger
}

// Gateway is an http.Handler. Close ends it.
type Gateway struct {
	cfg     Config
	volumes *volumes
	json    *runtime.ServeMux
	watches chan struct{}  // holds one for each
	running sync.WaitGroup // goroutines of watches
	most    time.Duration  // takeTimeout, but for tests
}

// maxBodyBytes bounds a request: the largest transaction, as base64 in JSON.
const maxBodyBytes = 4 << 20

// bodyTimeout bounds how long a request may take to arrive.
const bodyTimeout = 30 * time.Second

// New makes a gateway.
func New(cfg Config) (*Gateway, error) {
	if len(cfg.Managers) == 0 {
		return nil, errors.New("a gateway needs the address of at least one cluster manager")
	}
	cfg.RetryFor = cmp.Or(cfg.RetryFor, 10*time.Second)
	cfg.MaxVolumes, cfg.MaxWatches = cmp.Or(cfg.MaxVolumes, 1024), cmp.Or(cfg.MaxWatches, 1024)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	g := &Gateway{cfg: cfg, watches: make(chan struct{}, cfg.MaxWatches), most: takeTimeout}
	g.volumes = newVolumes(cfg)
	g.json = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.JSONPb{
			MarshalOptions: protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true},
		}),
		runtime.WithErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
			fail(w, err)
		}),
		runtime.WithRoutingErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
			failRoute(w, r, code)
		}),
	)
	if err := gatewaypb.RegisterMetaHandlerClient(context.Background(), g.json, calls{g}); err != nil {
		return nil, err
	}
	return g, nil
}

// Close ends the watches and all other calls, and waits for them.
func (g *Gateway) Close() error {
	err := g.volumes.close()
	g.running.Wait()
	return err
}

// prefix begins the paths of all that belongs to a volume.
const prefix = "/v1/volumes/"

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	w := taking{to, http.NewResponseController(to), g.most}
	if r.URL.Path == "/openapi.json" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(gatewaypb.OpenAPI) // a client that left is no failure
		return
	}
	rest, ours := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	name, what, whole := strings.Cut(rest, "/")
	name, err := url.PathUnescape(name)
	if !ours || !whole || name == "" || err != nil {
		failRoute(w, r, http.StatusNotFound)
		return
	}
	if r.Body, err = body(to, r); err != nil {
		fail(w, status.Errorf(codes.InvalidArgument, "the body, which may have %d bytes: %v", maxBodyBytes, err))
		return
	}
	v, err := g.volumes.use(r.Context(), name)
	if err != nil {
		fail(w, err)
		return
	}
	defer g.volumes.done(v)
	if key, plain := strings.CutPrefix(what, "keys/"); plain {
		if key, err = url.PathUnescape(key); err != nil {
			fail(w, status.Errorf(codes.InvalidArgument, "the key in the path: %v", err))
			return
		}
		keys{g.volumes, v}.serve(w, r, []byte(key))
		return
	}
	// The generated handlers know volumes by id.
	r = r.WithContext(context.WithValue(r.Context(), volumeKey{}, v))
	r.URL.Path, r.URL.RawPath = fmt.Sprintf("%s%d/%s", prefix, v.client.Volume(), what), ""
	g.json.ServeHTTP(w, r)
}

// body reads the whole of a request, so that a client that sends slowly keeps
// nothing of a volume waiting, and one that watches has no deadline.
func body(w http.ResponseWriter, r *http.Request) (io.ReadCloser, error) {
	bound := http.NewResponseController(w)
	_ = bound.SetReadDeadline(time.Now().Add(bodyTimeout)) // recorders of tests have none
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	_ = bound.SetReadDeadline(time.Time{})
	return io.NopCloser(bytes.NewReader(data)), err
}

// volumeKey finds the volume of a request in its context.
type volumeKey struct{}

func volumeOf(ctx context.Context) (*volume, error) {
	v, there := ctx.Value(volumeKey{}).(*volume)
	if !there {
		return nil, fmt.Errorf("%w: the call came by no path of a volume", pinetree.ErrUnknownVolume)
	}
	return v, nil
}

package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// profileGrace is how much longer than the measured interval the fetching of a
// profile may take.
const profileGrace = 30 * time.Second

// profiler fetches profiles of the nodes and of this process while the load
// runs. This process serves its own in the same way as the nodes do.
type profiler struct {
	cfg      Config
	own      *http.Server
	served   chan struct{} // closed when own has ended
	sources  map[string]string
	fetching errgroup.Group
	cancel   context.CancelFunc // ends the fetching; nil before
}

// startProfiler prepares for profiles; nil when none are asked for.
func startProfiler(s *testbed.Servers, cfg Config) (*profiler, error) {
	if cfg.Profiles == "" {
		return nil, nil
	}
	if err := os.MkdirAll(cfg.Profiles, 0o755); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	p := &profiler{
		cfg: cfg, own: &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}, served: make(chan struct{}),
		sources: map[string]string{"load": listener.Addr().String()},
	}
	for i, n := range s.Nodes() {
		p.sources[fmt.Sprintf("node%d", i+1)] = n.Metrics
	}
	go func() {
		defer close(p.served)
		_ = p.own.Serve(listener) // ends with close; a fetch that fails says why
	}()
	return p, nil
}

// begin begins to profile; what is fetched covers the duration from now on.
func (p *profiler) begin(ctx context.Context) {
	if p == nil {
		return
	}
	ctx, p.cancel = context.WithTimeout(ctx, p.cfg.Duration+profileGrace)
	seconds := max(1, int(p.cfg.Duration.Seconds()))
	wanted := map[string]string{".pprof": fmt.Sprintf("profile?seconds=%d", seconds)}
	if p.cfg.Allocs {
		wanted[".allocs.pprof"] = fmt.Sprintf("allocs?seconds=%d", seconds)
	}
	for name, addr := range p.sources {
		for suffix, page := range wanted {
			p.fetching.Go(func() error { return p.fetch(ctx, "http://"+addr+"/debug/pprof/"+page, name+suffix) })
		}
	}
}

// end waits for the profiles; heaps are taken last, when the load is over.
func (p *profiler) end(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.fetching.Wait(); err != nil {
		return err
	}
	if !p.cfg.Allocs {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, profileGrace)
	defer cancel()
	for name, addr := range p.sources {
		if err := p.fetch(ctx, "http://"+addr+"/debug/pprof/heap", name+".heap.pprof"); err != nil {
			return err
		}
	}
	return nil
}

func (p *profiler) fetch(ctx context.Context, url, file string) (err error) {
	body, err := get(ctx, url)
	if err != nil {
		return fmt.Errorf("profile %s: %w", file, err)
	}
	defer body.Close()
	f, err := os.Create(filepath.Join(p.cfg.Profiles, file))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	_, err = io.Copy(f, body)
	return err
}

func (p *profiler) close() {
	if p == nil {
		return
	}
	if p.cancel != nil {
		p.cancel()
		_ = p.fetching.Wait() // end has told the error, or the run has failed before
	}
	_ = p.own.Close() // only reports what the listener said
	<-p.served
}

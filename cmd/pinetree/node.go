package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/footprint"
	"github.com/pinetree-db/pinetree/logservice"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/transport"
)

// nodeFlags are the settings of a storage node.
type nodeFlags struct {
	dir, listen, advertise, zone string
	callFrom                     string
	managers                     cli.Managers
	transport                    string
	keepLog, snapshotRate        bench.Size
	storage                      backends.Storage
	metrics, http                string
	config                       string
	logging                      cli.Logging
}

func nodeCommand() *cobra.Command {
	f := nodeFlags{
		keepLog:      bench.Size(host.DefaultOptions().Replica.MaxLogBytes),
		snapshotRate: bench.Size(transport.DefaultSnapshots.BytesPerSecond),
	}
	c := &cobra.Command{
		Use: "node", Short: "Run a storage node",
		Long: `Run a storage node until it is interrupted.

A new directory registers with the cluster manager and gets its id for ever. Settings
come from the command line, then from the environment (PINETREE_DIR and so on), then
from the YAML file that --config names, whose keys are the flags' names:

  dir: /var/lib/pinetree/a
  listen: 10.0.0.1:7001
  manager: [10.0.0.9:7000]
  zone: a`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.config != "" {
				if err := cli.FromFile(cmd, f.config); err != nil {
					return err
				}
			}
			if err := cli.Required(cmd, "dir", "listen", "manager"); err != nil {
				return err
			}
			return f.run(cmd.Context())
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", "", "the node's directory, made when it is not there")
	flags.StringVar(&f.listen, "listen", "", "address on which to listen, such as 10.0.0.1:7001")
	flags.StringVar(&f.advertise, "advertise", "", "address at which others reach this node; the one it listens on when empty")
	flags.StringVar(&f.callFrom, "call-from", "", "IP address from which to call peers and managers; the system chooses when empty")
	flags.StringVar(&f.zone, "zone", "", "where the node is; replicas are spread over zones")
	flags.StringVar(&f.transport, "transport", "tcp", "how raft messages travel: "+cli.Names(backends.Transports))
	flags.Var(&f.keepLog, "keep-log", "how much raft log is kept for a replica of a group that does not answer; one that is away for longer gets a snapshot")
	flags.Var(&f.snapshotRate, "snapshot-rate", "how much per second the snapshots that the node sends may take of disk and network")
	flags.StringVar(&f.storage.RaftLog, "raftlog", "segment", "raft log store: "+cli.Names(backends.RaftLogs))
	flags.StringVar(&f.storage.Engine, "engine", "badger", "storage engine: "+cli.Names(backends.Engines))
	flags.BoolVar(&f.storage.Measuring, "measuring", false, "the node is a benchmark's and may run an engine that keeps nothing")
	_ = flags.MarkHidden("measuring") // fails only for a flag that there is not
	flags.StringVar(&f.metrics, "metrics", "", "address on which to serve /metrics and /debug/pprof; not served when empty")
	flags.StringVar(&f.http, "http", "", "address on which to serve the metadata of volumes as JSON over HTTP; not served when empty")
	flags.StringVar(&f.config, "config", "", "YAML file with settings")
	f.managers.Flag(c)
	f.logging.Flag(c)
	return c
}

// run runs the node until ctx ends.
func (f *nodeFlags) run(ctx context.Context) (err error) {
	ballast := newBallast()
	defer runtime.KeepAlive(ballast)
	log, err := f.logging.Logger()
	if err != nil {
		return err
	}
	mode, err := cli.Choose("transport", f.transport, backends.Transports)
	if err != nil {
		return err
	}
	if err := f.storage.Check(); err != nil {
		return err
	}
	dial, connect, err := f.calling(log)
	if err != nil {
		return err
	}
	protect, err := f.managers.TLS.Server(log)
	if err != nil {
		return err
	}
	// The address is taken first: it is what fails when the node runs already.
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", f.listen, err)
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return joined(err, listener.Close())
	}
	opened, err := f.storage.Open(backends.Dir(f.dir), log)
	if err != nil {
		return joined(err, listener.Close())
	}
	defer func() { err = joined(err, opened.Close()) }()
	options := host.DefaultOptions()
	options.Replica.MaxLogBytes = int64(f.keepLog)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	dir := backends.Dir(f.dir)
	registry.MustRegister(footprint.Collector(map[string]string{"engine": dir.Engine(), "raftlog": dir.RaftLog()}))
	node, err := logservice.New(ctx, logservice.Config{
		Dir: f.dir, Listener: listener, Advertise: f.advertise, Managers: f.managers.Addresses, Zone: f.zone,
		Log: opened.Log, Engines: opened.Engines, Transport: mode, Options: &options,
		Snapshots: transport.SnapshotLimits{BytesPerSecond: int(f.snapshotRate)}, Registry: registry, Logger: log,
		Dial: dial, Connect: connect, Credentials: protect,
	})
	if err != nil {
		return err
	}
	stop, err := serveMetrics(f.metrics, registry, log)
	if err != nil {
		return joined(err, node.Close())
	}
	defer stop()
	stopHTTP, err := f.serveHTTP(dial, log)
	if err != nil {
		return joined(err, node.Close())
	}
	defer stopHTTP()
	return node.Run(ctx)
}

// calling is how a node connects to others: protected, and from the chosen address,
// for machines with several of them and firewalls that go by it. dial is for gRPC,
// connect for raft messages.
func (f *nodeFlags) calling(log *slog.Logger) (dial []grpc.DialOption, connect func(context.Context, string) (net.Conn, error), err error) {
	var from net.Addr
	if f.callFrom != "" {
		ip := net.ParseIP(f.callFrom)
		if ip == nil {
			return nil, nil, cli.Usagef("--call-from %q is not an IP address", f.callFrom)
		}
		from = &net.TCPAddr{IP: ip}
	}
	if connect, err = f.managers.TLS.Connect(transport.Dialer(from), log); err != nil {
		return nil, nil, err
	}
	if dial, err = f.managers.TLS.Dial(log); err != nil || from == nil {
		return dial, connect, err
	}
	dialer := net.Dialer{LocalAddr: from}
	return append(dial, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	})), connect, nil
}

// serveMetrics serves metrics and profiles until stop is called; nothing
// without an address.
func serveMetrics(addr string, registry *prometheus.Registry, log *slog.Logger) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "err", err)
		}
	}()
	log.Info("serves metrics", "address", listener.Addr().String())
	return func() {
		_ = server.Close() // it only reports what the listener said
		<-served
	}, nil
}

// joined is errors.Join for an error and what failed while cleaning up.
func joined(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return errors.Join(err, cleanup)
}

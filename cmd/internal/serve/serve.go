// Package serve is the command that runs a cluster manager, under the names of
// both programs. It chooses the manager's store and otherwise only wires.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/clustermgr"
	"github.com/pinetree-db/pinetree/clustermgr/etcdstore"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// flags are the settings of a manager.
type flags struct {
	listen, advertise string
	embed             string
	etcd              []string
	prefix            string
	tls               cli.TLS
	logging           cli.Logging
}

// Command is the manager under the given name.
func Command(name string) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: name, Short: "Run a cluster manager", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	c.Flags().StringVar(&f.listen, "listen", cli.DefaultManager, "address on which to listen")
	c.Flags().StringVar(&f.advertise, "advertise", "", "address at which others reach this manager; the one it listens on when empty")
	c.Flags().StringVar(&f.embed, "embed-etcd", "", "run etcd in this process, with its files in this directory; for clusters with one manager")
	c.Flags().StringSliceVar(&f.etcd, "etcd", nil, "addresses of an etcd cluster, joined by commas")
	c.Flags().StringVar(&f.prefix, "etcd-prefix", "pinetree", "prefix of the cluster's keys in etcd")
	f.tls.Flag(c)
	f.logging.Flag(c)
	return c
}

// embedTimeout bounds the start of an etcd in this process.
const embedTimeout = 20 * time.Second

// run serves until ctx ends, or etcd in this process fails.
func (f *flags) run(ctx context.Context) (err error) {
	log, err := f.logging.Logger()
	if err != nil {
		return err
	}
	if (f.embed == "") == (len(f.etcd) == 0) {
		return cli.Usagef("say where the manager keeps what it knows: --embed-etcd DIR for a cluster with one manager, or --etcd HOST:2379,… for an etcd cluster")
	}
	dial, err := f.tls.Dial(log)
	if err != nil {
		return err
	}
	serve, err := f.tls.Server(log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", f.listen, err)
	}
	defer func() {
		if closeErr := listener.Close(); !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}()
	if at, ok := listener.Addr().(*net.TCPAddr); ok && f.advertise == "" && at.IP.IsUnspecified() {
		return cli.Usagef("the manager listens on every address (%s); --advertise tells which one others are to use", at)
	}
	if f.advertise == "" {
		f.advertise = listener.Addr().String()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if f.embed != "" {
		etcd, err := f.startEtcd(ctx, log)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		defer etcd.Close()
		f.etcd = etcd.Endpoints
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			if err := etcd.Wait(ctx); err != nil {
				cancel(err)
			}
		}()
		defer func() { cancel(nil); <-watched }()
	}
	store, err := etcdstore.Open(etcdstore.Config{Endpoints: f.etcd, Prefix: f.prefix})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	m, err := clustermgr.New(clustermgr.Config{Store: store, Address: f.advertise, Dial: dial, Serve: serve, Log: log})
	if err != nil {
		return err
	}
	err = m.Serve(ctx, listener)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

func (f *flags) startEtcd(ctx context.Context, log *slog.Logger) (*etcdstore.Embedded, error) {
	if err := os.MkdirAll(f.embed, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, embedTimeout)
	defer cancel()
	return etcdstore.StartEmbedded(ctx, f.embed, log)
}

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
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree/clustermgr"
	"github.com/pinetree-db/pinetree/clustermgr/etcdstore"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// flags are the settings of a manager.
type flags struct {
	listen, advertise string
	member            etcdstore.Member
	etcd              []string
	prefix            string
	files             etcdstore.Files // of an etcd outside
	user, password    string
	lease             time.Duration
	replaceAfter      time.Duration
	newSettings       bool
	tls               cli.TLS
	logging           cli.Logging
}

const long = `Run a cluster manager. Of several one is active at a time; the others send what they
are asked on to it, and one of them takes its place when it is gone.

What managers know is in etcd. For a cluster with one manager, it runs in the same process:

  clustermgr serve --listen 10.0.0.1:7000 --embed-etcd /var/lib/pinetree/etcd

For three managers without an etcd of your own, each runs one of its members. The port in
--peers is for the members among themselves, and the next one for their clients:

  clustermgr serve --listen 10.0.0.1:7000 --embed-etcd /var/lib/pinetree/etcd \
    --name m1 --peers m1=10.0.0.1:7010,m2=10.0.0.2:7010,m3=10.0.0.3:7010

With an etcd cluster of your own:

  clustermgr serve --listen 10.0.0.1:7000 --etcd 10.0.1.1:2379,10.0.1.2:2379,10.0.1.3:2379 \
    --etcd-cacert ca.pem --etcd-cert manager.pem --etcd-key manager.key`

// Command is the manager under the given name.
func Command(name string) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: name, Short: "Run a cluster manager", Long: long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	c.Flags().StringVar(&f.listen, "listen", cli.DefaultManager, "address on which to listen")
	c.Flags().StringVar(&f.advertise, "advertise", "", "address at which others reach this manager; the one it listens on when empty")
	c.Flags().StringVar(&f.member.Dir, "embed-etcd", "", "run etcd in this process, with its files in this directory")
	c.Flags().StringVar(&f.member.Name, "name", "", "with --peers: which of them this manager's etcd is")
	c.Flags().StringToStringVar(&f.member.Peers, "peers", nil, "members of the managers' etcd, as NAME=HOST:PORT joined by commas; only this one when empty")
	c.Flags().BoolVar(&f.member.Rejoin, "etcd-rejoin", false, "with --peers: this member's directory was lost; the others are to replace it by an empty one")
	c.Flags().StringSliceVar(&f.etcd, "etcd", nil, "addresses of an etcd cluster, joined by commas")
	c.Flags().StringVar(&f.prefix, "etcd-prefix", "pinetree", "prefix of the cluster's keys in etcd")
	c.Flags().StringVar(&f.files.CA, "etcd-cacert", "", "with --etcd: PEM file with the authority of etcd's certificates")
	c.Flags().StringVar(&f.files.Cert, "etcd-cert", "", "with --etcd: PEM file with the certificate to show to etcd")
	c.Flags().StringVar(&f.files.Key, "etcd-key", "", "with --etcd: PEM file with the private key of --etcd-cert")
	c.Flags().StringVar(&f.user, "etcd-user", "", "with --etcd: user name")
	c.Flags().StringVar(&f.password, "etcd-password-file", "", "with --etcd-user: file with the password")
	c.Flags().DurationVar(&f.replaceAfter, "replace-after", 5*time.Minute, "after how long the replicas of a node that is dead, or has lost them, are put elsewhere")
	c.Flags().DurationVar(&f.lease, "lease", 600*time.Millisecond, "how long a leader's lease lasts: the least time for which a group has none after its leader's death, and the longest pause that does not cost one its lease")
	c.Flags().BoolVar(&f.newSettings, "new-settings", false, "what this manager is told replaces what the cluster has, as soon as it is the active one; without it a manager that is told something else than the cluster has ends")
	f.tls.Flag(c)
	f.logging.Flag(c)
	return c
}

// check refuses what does not fit together.
func (f *flags) check() error {
	embedded := f.member.Dir != ""
	switch {
	case embedded == (len(f.etcd) > 0):
		return cli.Usagef("say where the manager keeps what it knows: --embed-etcd DIR for an etcd in this process, or --etcd HOST:2379,… for an etcd cluster")
	case !embedded && (f.member.Name != "" || len(f.member.Peers) > 0 || f.member.Rejoin):
		return cli.Usagef("--name, --peers and --etcd-rejoin are for --embed-etcd")
	case embedded && (f.files != etcdstore.Files{} || f.user != "" || f.password != ""):
		return cli.Usagef("--etcd-cacert, --etcd-cert, --etcd-key and --etcd-user are for --etcd; an etcd in this process has the files of --tls-ca, --tls-cert and --tls-key")
	case (f.member.Name != "") != (len(f.member.Peers) > 0):
		return cli.Usagef("--name and --peers go together")
	case (f.files.Cert == "") != (f.files.Key == ""):
		return cli.Usagef("--etcd-cert and --etcd-key go together")
	case (f.user == "") != (f.password == ""):
		return cli.Usagef("--etcd-user and --etcd-password-file go together")
	}
	if len(f.member.Peers) > 0 {
		f.member.Files = etcdstore.Files(f.tls.Files)
	}
	if err := f.member.Check(); err != nil {
		return cli.Usagef("--peers: %w", err)
	}
	return nil
}

// embedTimeout bounds the start of an etcd in this process that waits for no
// other.
const embedTimeout = 20 * time.Second

// run serves until ctx ends, or etcd in this process fails.
func (f *flags) run(ctx context.Context) (err error) {
	log, err := f.logging.Logger()
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	dial, err := f.tls.Dial(log)
	if err != nil {
		return err
	}
	protect, err := f.tls.Server(log)
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
	if f.member.Dir != "" {
		etcd, err := f.startEtcd(ctx, log)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		defer etcd.Close()
		f.etcd, f.files = etcd.Endpoints, f.member.Files
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			if err := etcd.Wait(ctx); err != nil {
				cancel(err)
			}
		}()
		defer func() { cancel(nil); <-watched }()
	}
	store, err := f.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	cfg := clustermgr.Config{Store: store, Address: f.advertise, Dial: dial, Serve: []grpc.ServerOption{grpc.Creds(protect)}, Log: log}
	cfg.Replicas.ReplaceAfter, cfg.Lease.Duration, cfg.NewSettings = f.replaceAfter, f.lease, f.newSettings
	m, err := clustermgr.New(cfg)
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
	if err := os.MkdirAll(f.member.Dir, 0o700); err != nil {
		return nil, err
	}
	if len(f.member.Peers) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, embedTimeout)
		defer cancel()
	}
	return etcdstore.Start(ctx, f.member, log)
}

func (f *flags) open() (*etcdstore.Store, error) {
	cfg := etcdstore.Config{Endpoints: f.etcd, Prefix: f.prefix, Files: f.files, User: f.user}
	if f.password != "" {
		password, err := os.ReadFile(f.password)
		if err != nil {
			return nil, fmt.Errorf("--etcd-password-file: %w", err)
		}
		cfg.Password = strings.TrimRight(string(password), "\r\n")
	}
	return etcdstore.Open(cfg)
}

package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Embedded is an etcd server within this process: all of a cluster of one member,
// or one of a few.
type Embedded struct {
	etcd *embed.Etcd
	said *errorsTo
	// Endpoints are what a Store opens: that of this member alone. It knows of every
	// other one whether it hangs, which a client of it would have to find out, and it
	// lives as long as this process does.
	Endpoints []string
}

// StartEmbedded runs a cluster of one member with its files in a directory, which
// it makes, on free ports of the loopback interface. It returns when etcd serves.
// Everything is fsynced before it is confirmed. Etcd's errors go to the log.
func StartEmbedded(ctx context.Context, dir string, log *slog.Logger) (*Embedded, error) {
	return Start(ctx, Member{Dir: dir}, log)
}

// Start is StartEmbedded for a member of any cluster. That of a cluster of several
// serves when a majority of them does; the log tells of the wait.
func Start(ctx context.Context, m Member, log *slog.Logger) (*Embedded, error) {
	cfg, err := m.config(ctx)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd in %s: %w", m.Dir, err)
	}
	said := &errorsTo{log: log}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(said))
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd in %s: %w", m.Dir, m.explain(err))
	}
	e := &Embedded{etcd: etcd, said: said, Endpoints: []string{etcd.Clients[0].Addr().String()}}
	if len(m.Peers) > 0 {
		e.Endpoints = m.endpoints()[:1]
	}
	if err := e.ready(ctx, m, log); err != nil {
		e.Close()
		return nil, fmt.Errorf("embedded etcd in %s: %w", m.Dir, err)
	}
	return e, nil
}

// waitNote is how often the log tells that a majority of members is waited for.
const waitNote = 5 * time.Second

// ready waits until etcd serves, and notes that the member is in the cluster.
func (e *Embedded) ready(ctx context.Context, m Member, log *slog.Logger) error {
	note := time.NewTicker(waitNote)
	defer note.Stop()
	for {
		select {
		case <-e.etcd.Server.ReadyNotify():
			return m.remember(true)
		case <-note.C:
			log.Info("etcd waits for a majority of its members", "members", slices.Sorted(maps.Keys(m.Peers)))
		case err := <-e.etcd.Err():
			return err
		case <-ctx.Done():
			return fmt.Errorf("it does not come up: %w", ctx.Err())
		}
	}
}

// Wait returns when ctx ends, which is no error, or when etcd fails.
func (e *Embedded) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.etcd.Err():
		return fmt.Errorf("embedded etcd failed: %w", err)
	case <-e.etcd.Server.StopNotify():
		return errors.New("embedded etcd stopped by itself")
	}
}

// Close stops etcd and waits until it has ended.
func (e *Embedded) Close() {
	e.said.closing.Store(true)
	e.etcd.Close()
}

// errorsTo passes etcd's errors on and drops everything else it says. While it
// is closed on purpose, etcd calls that an error, too.
type errorsTo struct {
	log     *slog.Logger
	closing atomic.Bool
}

func (e *errorsTo) Enabled(level zapcore.Level) bool {
	return level >= zapcore.ErrorLevel && !e.closing.Load()
}
func (e *errorsTo) With([]zapcore.Field) zapcore.Core { return e }
func (e *errorsTo) Sync() error                       { return nil }
func (e *errorsTo) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Enabled(entry.Level) {
		return checked.AddCore(entry, e)
	}
	return checked
}

func (e *errorsTo) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	said := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(said)
	}
	e.log.Error("etcd: "+entry.Message, "details", said.Fields)
	return nil
}

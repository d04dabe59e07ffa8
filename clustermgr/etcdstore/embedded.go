package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Embedded is an etcd server of one member within this process.
type Embedded struct {
	etcd *embed.Etcd
	said *errorsTo
	// Endpoints are what a Store in this process, or on this machine, opens.
	Endpoints []string
}

// StartEmbedded runs etcd with its files in a directory, which it makes, on
// free ports of the loopback interface. It returns when etcd serves. Everything
// is fsynced before it is confirmed. Etcd's errors go to the log.
func StartEmbedded(ctx context.Context, dir string, log *slog.Logger) (*Embedded, error) {
	cfg := embed.NewConfig()
	cfg.Name = "manager"
	cfg.Dir = dir
	loopback := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{loopback}, []url.URL{loopback}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{loopback}, []url.URL{loopback}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	// A single member waits for nobody, so a short election only starts sooner.
	cfg.TickMs, cfg.ElectionMs = 50, 500
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	said := &errorsTo{log: log}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(said))
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd in %s: %w", dir, err)
	}
	e := &Embedded{etcd: etcd, said: said, Endpoints: []string{etcd.Clients[0].Addr().String()}}
	select {
	case <-etcd.Server.ReadyNotify():
		return e, nil
	case err := <-etcd.Err():
		etcd.Close()
		return nil, fmt.Errorf("embedded etcd in %s: %w", dir, err)
	case <-ctx.Done():
		etcd.Close()
		return nil, fmt.Errorf("embedded etcd in %s does not come up: %w", dir, ctx.Err())
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

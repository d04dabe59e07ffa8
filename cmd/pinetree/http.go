package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree/adapter/gateway"
)

// serveHTTP serves the metadata of the cluster's volumes over HTTP until stop is
// called, protected as the node's other connections are; nothing without an
// address.
func (f *nodeFlags) serveHTTP(dial []grpc.DialOption, log *slog.Logger) (stop func(), err error) {
	if f.http == "" {
		return func() {}, nil
	}
	protected, err := f.managers.TLS.ServerConfig(log)
	if err != nil {
		return nil, err
	}
	handler, err := gateway.New(gateway.Config{Managers: f.managers.Addresses, Zone: f.zone, Dial: dial, Logger: log})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", f.http)
	if err != nil {
		return nil, joined(fmt.Errorf("--http: %w", err), handler.Close())
	}
	server := &http.Server{
		Handler: handler, TLSConfig: protected, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("serves HTTP", "address", listener.Addr().String(), "tls", protected != nil)
	if protected != nil {
		listener = tls.NewListener(listener, protected)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP is no longer served", "err", err)
		}
	}()
	return func() {
		_ = server.Close() // it only reports what the listener said
		<-served
		if err := handler.Close(); err != nil {
			log.Warn("the HTTP gateway did not close well", "err", err)
		}
	}, nil
}

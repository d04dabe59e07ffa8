package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Client makes the credentials of connections to servers: plaintext when there
// are no files. It reads the files, and says what is wrong with them. The log
// hears when renewed files cannot be used; the last good ones are used then.
func Client(f Files, log *slog.Logger) (credentials.TransportCredentials, error) {
	if !f.Any() {
		return plaintext{insecure.NewCredentials()}, nil
	}
	return follow(f, client, log)
}

// Server makes the credentials of connections that others make, as Client does.
func Server(f Files, log *slog.Logger) (credentials.TransportCredentials, error) {
	if !f.Any() {
		return insecure.NewCredentials(), nil
	}
	return follow(f, server, log)
}

// lookAgain is how long files are taken to be as they were.
const lookAgain = time.Second

// followed are credentials that are read anew when the files have changed. Any
// number of connections may be made with them at the same time.
type followed struct {
	files Files
	role  role
	log   *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamps [3]stamp
	config *tls.Config
	is     credentials.TransportCredentials // of config
}

func follow(f Files, r role, log *slog.Logger) (*followed, error) {
	c := &followed{files: f, role: r, log: log, looked: time.Now(), stamps: f.stamps()}
	config, err := f.load(r)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	c.config, c.is = config, credentials.NewTLS(config)
	return c, nil
}

// ServerConfig is Server for servers that do not speak gRPC: nil when there are no
// files. Each connection is made with the files as they are then.
func ServerConfig(f Files, log *slog.Logger) (*tls.Config, error) {
	if !f.Any() {
		return nil, nil
	}
	c, err := follow(f, server, log)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			_ = c.now()
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.config, nil
		},
	}, nil
}

// now gives what the files hold.
func (c *followed) now() credentials.TransportCredentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookAgain {
		return c.is
	}
	c.looked = time.Now()
	stamps := c.files.stamps()
	if stamps == c.stamps {
		return c.is
	}
	config, err := c.files.load(c.role)
	if err != nil { // as between the writing of the certificate and of the key
		c.log.Warn("the renewed TLS files cannot be used; going on with those before", "err", err)
		return c.is
	}
	c.stamps, c.config, c.is = stamps, config, credentials.NewTLS(config)
	c.log.Info("uses renewed TLS files", "cert", c.files.Cert, "ca", c.files.CA)
	return c.is
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *followed) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.now().ClientHandshake(ctx, authority, raw)
	if err == nil {
		// The server looks at this end's certificate only now.
		return &hinting{Conn: conn, hint: "refused this connection, perhaps for the certificate of --tls-cert, or the lack of one"}, info, nil
	}
	if _, notTLS := errors.AsType[tls.RecordHeaderError](err); notTLS {
		err = fmt.Errorf("the server at %s does not use TLS, and this process does: give both the same TLS files, or none: %w", raw.RemoteAddr(), err)
	}
	return conn, info, err
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *followed) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.now().ServerHandshake(raw)
	if _, notTLS := errors.AsType[tls.RecordHeaderError](err); notTLS {
		err = fmt.Errorf("the caller does not use TLS: %w", err)
	}
	if err != nil && !errors.Is(err, io.EOF) { // which is somebody who only looked whether the port is open
		c.log.Warn("refused a connection", "from", raw.RemoteAddr().String(), "err", err)
	}
	return conn, info, err
}

// Info implements credentials.TransportCredentials.
func (c *followed) Info() credentials.ProtocolInfo { return c.now().Info() }

// Clone implements credentials.TransportCredentials. Copies share the files.
func (c *followed) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials. The name is
// part of the files' description here.
func (c *followed) OverrideServerName(string) error {
	return errors.New("the server's name is set with the TLS files")
}

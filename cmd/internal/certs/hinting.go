package certs

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// plaintext is no TLS, with a hint for those who meet a server that wants it.
type plaintext struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (p plaintext) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := p.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return conn, info, err
	}
	return &hinting{Conn: conn, hint: "hung up before it said anything; if it uses TLS, this process needs --tls-ca and perhaps --tls-cert and --tls-key"}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (p plaintext) Clone() credentials.TransportCredentials {
	return plaintext{p.TransportCredentials.Clone()}
}

// hinting is a connection whose end before the first byte is explained: so does
// a server end it that was told something else than it wants.
type hinting struct {
	net.Conn
	hint  string
	heard atomic.Bool
}

// Read implements net.Conn.
func (h *hinting) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if n > 0 {
		h.heard.Store(true)
	}
	return n, h.explain(err)
}

// lastWords is how long the reason of a server that hung up is waited for.
const lastWords = 100 * time.Millisecond

// Write implements net.Conn. When the server hung up, what it said last tells
// more than that writing is in vain.
func (h *hinting) Write(b []byte) (int, error) {
	n, err := h.Conn.Write(b)
	if err == nil || h.heard.Load() {
		return n, err
	}
	if h.Conn.SetReadDeadline(time.Now().Add(lastWords)) == nil {
		if _, said := h.Conn.Read(make([]byte, 1)); said != nil {
			err = said
		}
	}
	return n, h.explain(err)
}

func (h *hinting) explain(err error) error {
	if err == nil || h.heard.Load() {
		return err
	}
	return fmt.Errorf("the server at %s %s: %w", h.RemoteAddr(), h.hint, err)
}

package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/pinetree-db/pinetree/cmd/internal/certs"
)

// TLS is how the connections of a command are protected; not at all by default.
type TLS struct{ Files certs.Files }

// Flag adds the TLS flags to a command.
func (t *TLS) Flag(c *cobra.Command) {
	c.Flags().StringVar(&t.Files.CA, "tls-ca", "", "use TLS, and believe certificates of the authorities in this PEM file; a server then lets nobody in without one")
	c.Flags().StringVar(&t.Files.Cert, "tls-cert", "", "PEM file with this process's certificate")
	c.Flags().StringVar(&t.Files.Key, "tls-key", "", "PEM file with the private key of --tls-cert")
	c.Flags().StringVar(&t.Files.ServerName, "tls-server-name", "", "name that servers' certificates must have; the host of their address when empty")
}

// Dial makes the options of connections to servers.
func (t *TLS) Dial(log *slog.Logger) ([]grpc.DialOption, error) {
	made, err := t.client(log)
	if err != nil {
		return nil, err
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(made)}, nil
}

func (t *TLS) client(log *slog.Logger) (credentials.TransportCredentials, error) {
	made, err := certs.Client(t.Files, log)
	if err != nil {
		return nil, UsageError{err}
	}
	return made, nil
}

// Connect makes connections as Dial's are, for what is not gRPC.
func (t *TLS) Connect(dialer *net.Dialer, log *slog.Logger) (func(ctx context.Context, address string) (net.Conn, error), error) {
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}
	if !t.Files.Any() {
		return dial, nil
	}
	made, err := t.client(log)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		raw, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		conn, _, err := made.ClientHandshake(ctx, address, raw)
		if err != nil {
			_ = raw.Close()
			return nil, err
		}
		return conn, nil
	}, nil
}

// Server makes the credentials of a server.
func (t *TLS) Server(log *slog.Logger) (credentials.TransportCredentials, error) {
	made, err := certs.Server(t.Files, log)
	if err != nil {
		return nil, UsageError{err}
	}
	return made, nil
}

// ServerConfig is that of a server which does not speak gRPC; nil for plaintext.
func (t *TLS) ServerConfig(log *slog.Logger) (*tls.Config, error) {
	made, err := certs.ServerConfig(t.Files, log)
	if err != nil {
		return nil, UsageError{err}
	}
	return made, nil
}

// Args are the flags for a process that is to have the same TLS.
func (t *TLS) Args() []string {
	var args []string
	for _, f := range []struct{ name, value string }{
		{"--tls-ca", t.Files.CA}, {"--tls-cert", t.Files.Cert}, {"--tls-key", t.Files.Key}, {"--tls-server-name", t.Files.ServerName},
	} {
		if f.value != "" {
			args = append(args, f.name, f.value)
		}
	}
	return args
}

// Environment is the shell's lines that give every command the same TLS.
func (t *TLS) Environment() string {
	var lines strings.Builder
	args := t.Args()
	for i := 0; i < len(args); i += 2 {
		fmt.Fprintf(&lines, "  export %s=%s\n", environmentName(strings.TrimPrefix(args[i], "--")), args[i+1])
	}
	return lines.String()
}

package certs

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/pinetree-db/pinetree/test/authority"
)

func files(a *authority.Authority, p authority.Pair) Files {
	return Files{Cert: p.Cert, Key: p.Key, CA: a.CA}
}

func logOf(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// serve runs a server with the files and returns its address.
func serve(t *testing.T, f Files) (string, credentials.TransportCredentials) {
	t.Helper()
	made, err := Server(f, logOf(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(made))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	return listener.Addr().String(), made
}

// call makes one call on a connection of its own and returns the serial number
// of the server's certificate.
func call(t *testing.T, address string, f Files) (serial string, err error) {
	t.Helper()
	made, err := Client(f, logOf(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(made), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var server peer.Peer
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&server))
	if info, ok := server.AuthInfo.(credentials.TLSInfo); ok {
		serial = info.State.PeerCertificates[0].SerialNumber.String()
	}
	return serial, err
}

func TestOnlyThoseWithACertificateOfTheAuthorityAreLetIn(t *testing.T) {
	ours, others := authority.New(t), authority.New(t)
	server, friend, stranger := ours.Loopback("server"), ours.Loopback("friend"), others.Loopback("stranger")
	protected, _ := serve(t, files(ours, server))
	open, _ := serve(t, Files{Cert: server.Cert, Key: server.Key})
	plain, _ := serve(t, Files{})
	for name, c := range map[string]struct {
		at     string
		files  Files
		refuse string // empty when it is let in
	}{
		"friend":                         {protected, files(ours, friend), ""},
		"without a certificate":          {protected, Files{CA: ours.CA}, "certificate required"},
		"certificate of another's":       {protected, Files{Cert: stranger.Cert, Key: stranger.Key, CA: ours.CA}, "unknown certificate authority"},
		"plaintext":                      {protected, Files{}, "if it uses TLS, this process needs --tls-ca"},
		"server of another's":            {protected, files(others, stranger), "unknown authority"},
		"TLS to plaintext":               {plain, files(ours, friend), "does not use TLS, and this process does"},
		"no mutual TLS, no certificate":  {open, Files{CA: ours.CA}, ""},
		"plaintext to plaintext":         {plain, Files{}, ""},
		"name that the server lacks":     {protected, Files{Cert: friend.Cert, Key: friend.Key, CA: ours.CA, ServerName: "db"}, "certificate is not valid for any names, but wanted to match db"},
		"authorities of the system only": {open, Files{Cert: friend.Cert, Key: friend.Key}, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t, c.at, c.files)
			switch {
			case c.refuse == "" && err != nil:
				t.Fatal(err)
			case c.refuse != "" && (err == nil || !strings.Contains(err.Error(), c.refuse)):
				t.Fatalf("want %q, got %v", c.refuse, err)
			}
		})
	}
}

func TestAServerNameStandsForTheAddress(t *testing.T) {
	ours := authority.New(t)
	named := ours.Sign("named", func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"pinetree.internal"} })
	at, _ := serve(t, files(ours, named))
	if _, err := call(t, at, files(ours, named)); err == nil {
		t.Fatal("a certificate without the address was believed")
	}
	f := files(ours, named)
	f.ServerName = "pinetree.internal"
	if _, err := call(t, at, f); err != nil {
		t.Fatal(err)
	}
}

// aged lets the files be looked at again.
func aged(made credentials.TransportCredentials) {
	c := made.(*followed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = c.looked.Add(-2 * lookAgain)
}

func TestRenewedFilesAreUsedWithoutARestart(t *testing.T) {
	ours, others := authority.New(t), authority.New(t)
	server, friend, stranger := ours.Loopback("server"), ours.Loopback("friend"), others.Loopback("stranger")
	at, made := serve(t, files(ours, server))
	serial := func() string {
		t.Helper()
		n, err := call(t, at, files(ours, friend))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := serial()
	oldKey, err := os.ReadFile(server.Key)
	if err != nil {
		t.Fatal(err)
	}
	ours.Loopback("server")
	newKey, err := os.ReadFile(server.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server.Key, oldKey, 0o600); err != nil { // only the certificate was renewed yet
		t.Fatal(err)
	}
	aged(made)
	if now := serial(); now != before {
		t.Fatal("half a renewal was used")
	}
	if err := os.WriteFile(server.Key, newKey, 0o600); err != nil {
		t.Fatal(err)
	}
	aged(made)
	if now := serial(); now == before {
		t.Fatal("the old certificate is still shown")
	}
	// A second authority comes to be believed, as when one is replaced by the next.
	if _, err := call(t, at, Files{Cert: stranger.Cert, Key: stranger.Key, CA: ours.CA}); err == nil {
		t.Fatal("a stranger was let in")
	}
	both, err := os.ReadFile(ours.CA)
	if err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile(others.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ours.CA, append(both, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	aged(made)
	if _, err := call(t, at, Files{Cert: stranger.Cert, Key: stranger.Key, CA: ours.CA}); err != nil {
		t.Fatalf("after its authority was added: %v", err)
	}
}

func TestFilesThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	ours := authority.New(t)
	p, q := ours.Loopback("one"), ours.Loopback("two")
	caller := ours.Sign("caller", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	old := ours.Sign("old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for name, c := range map[string]struct {
		files Files
		role  role
		words string
	}{
		"no key":              {Files{Cert: p.Cert}, client, "go together"},
		"no certificate":      {Files{CA: ours.CA}, server, "needs a certificate"},
		"another's key":       {Files{Cert: p.Cert, Key: q.Key}, server, "private key does not match"},
		"no such authority":   {Files{CA: ours.CA + "x"}, client, "no such file"},
		"key as an authority": {Files{CA: p.Key}, client, "no certificate in PEM form"},
		"callers only":        {Files{Cert: caller.Cert, Key: caller.Key}, server, "lacks serverAuth"},
		"expired":             {Files{Cert: old.Cert, Key: old.Key}, client, "has expired"},
	} {
		_, err := follow(c.files, c.role, logOf(t))
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: want %q, got %v", name, c.words, err)
		}
	}
}

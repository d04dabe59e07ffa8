package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Files are PEM files. None at all is plaintext.
type Files struct {
	// Cert and Key are this process's own, with the chain to the authority in
	// Cert if there are steps between. A server needs them; a client shows them
	// to servers that ask for them.
	Cert, Key string
	// CA are the authorities whose certificates are believed. A server with them
	// lets nobody in without a certificate of theirs. A client without them
	// believes those of the system.
	CA string
	// ServerName is what the certificates of servers must name; the host of the
	// address when empty.
	ServerName string
}

// Any tells whether TLS is wanted.
func (f Files) Any() bool { return f != Files{} }

// role is the end of a connection.
type role bool

const (
	client role = false
	server role = true
)

func (r role) usage() (x509.ExtKeyUsage, string) {
	if r == server {
		return x509.ExtKeyUsageServerAuth, "serverAuth"
	}
	return x509.ExtKeyUsageClientAuth, "clientAuth"
}

// load reads the files anew.
func (f Files) load(r role) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: f.ServerName}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a certificate and its private key go together, and one of the two is missing")
	}
	if r == server && f.Cert == "" {
		return nil, errors.New("a server with TLS needs a certificate and its private key")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
		}
		if err := fit(pair.Leaf, r); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if f.CA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authority %s: there is no certificate in PEM form in it", f.CA)
	}
	if r == server {
		config.ClientCAs, config.ClientAuth = pool, tls.RequireAndVerifyClientCert
	} else {
		config.RootCAs = pool
	}
	return config, nil
}

// fit says early what the other end would refuse in fewer words.
func fit(leaf *x509.Certificate, r role) error {
	if now := time.Now(); now.After(leaf.NotAfter) {
		return fmt.Errorf("it has expired at %s; renew it", leaf.NotAfter.Format(time.RFC3339))
	}
	wanted, name := r.usage()
	if len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, wanted) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return fmt.Errorf("its extended key usage lacks %s; nodes and managers both call and are called, and need clientAuth and serverAuth", name)
	}
	return nil
}

// stamp tells one version of a file from the next.
type stamp struct {
	size     int64
	modified time.Time
}

// stamps of the files that there are.
func (f Files) stamps() [3]stamp {
	var now [3]stamp
	for i, path := range []string{f.Cert, f.Key, f.CA} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			now[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return now
}

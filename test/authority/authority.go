// Package authority signs certificates for tests. It knows nothing of who uses
// them.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates with files in a directory of the test's.
type Authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	// CA is the path of the authority's own certificate.
	CA string
}

// Pair are the paths of a certificate and its private key.
type Pair struct{ Cert, Key string }

// New makes an authority.
func New(t *testing.T) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), key: newKey(t)}
	a.cert = &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "an authority of " + t.Name()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.CA = filepath.Join(a.dir, "ca.pem")
	signed := a.sign(a.cert, &a.key.PublicKey)
	write(t, a.CA, "CERTIFICATE", signed)
	var err error
	if a.cert, err = x509.ParseCertificate(signed); err != nil {
		t.Fatal(err)
	}
	return a
}

// Pool believes the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Loopback signs a certificate for both ends of connections on the first
// loopback addresses, under a name that tells its files from others; again
// replaces them, as a renewal does.
func (a *Authority) Loopback(name string) Pair {
	a.t.Helper()
	return a.Sign(name, func(c *x509.Certificate) {})
}

// Sign is Loopback with changes to what is signed.
func (a *Authority) Sign(name string, change func(*x509.Certificate)) Pair {
	a.t.Helper()
	c := &x509.Certificate{
		SerialNumber: serial(a.t), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for last := byte(1); last <= 9; last++ {
		c.IPAddresses = append(c.IPAddresses, net.IPv4(127, 0, 0, last))
	}
	change(c)
	key := newKey(a.t)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	p := Pair{Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+".key")}
	write(a.t, p.Cert, "CERTIFICATE", a.sign(c, &key.PublicKey))
	write(a.t, p.Key, "PRIVATE KEY", encoded)
	return p
}

func (a *Authority) sign(c *x509.Certificate, public *ecdsa.PublicKey) []byte {
	a.t.Helper()
	signed, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

package certs

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pinetree-db/pinetree/test/authority"
)

// TestHTTPLetsInOnlyThoseWithACertificateOfTheAuthority: what is served beside gRPC
// is protected as gRPC is.
func TestHTTPLetsInOnlyThoseWithACertificateOfTheAuthority(t *testing.T) {
	ours, foreign := authority.New(t), authority.New(t)
	config, err := ServerConfig(files(ours, ours.Loopback("server")), logOf(t))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Listener = tls.NewListener(s.Listener, config)
	s.Start()
	defer s.Close()
	get := func(f Files) error {
		made, err := f.load(client)
		if err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: made, DisableKeepAlives: true}}
		answer, err := c.Get("https://" + s.Listener.Addr().String())
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && string(body) != "in" {
			err = errors.New(string(body))
		}
		return err
	}
	if err := get(files(ours, ours.Loopback("client"))); err != nil {
		t.Errorf("a client of the authority: %v", err)
	}
	if err := get(Files{CA: ours.CA}); err == nil {
		t.Error("a client without a certificate is let in")
	}
	stranger := files(foreign, foreign.Loopback("client"))
	stranger.CA = ours.CA
	if err := get(stranger); err == nil {
		t.Error("a client of another authority is let in")
	}
	if none, err := ServerConfig(Files{}, logOf(t)); none != nil || err != nil {
		t.Errorf("without files: %v, %v", none, err)
	}
}

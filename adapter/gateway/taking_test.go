package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestAClientThatTakesNothingIsLeft: it asks for more than all buffers on the way
// hold, on either path, and reads none of it.
func TestAClientThatTakesNothingIsLeft(t *testing.T) {
	c := newCluster(t)
	c.large.Store(24 << 20)
	g, err := New(Config{Managers: []string{c.address}})
	if err != nil {
		t.Fatal(err)
	}
	g.most = 100 * time.Millisecond
	served := make(chan string, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.ServeHTTP(w, r)
		served <- r.URL.Path
	}))
	defer func() {
		server.CloseClientConnections()
		server.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, path := range []string{"/v1/volumes/pg/keys/config", "/v1/volumes/pg/meta?key=Y29uZmln"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		select {
		case <-served:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the answer still waits for its client", path)
		}
	}
}

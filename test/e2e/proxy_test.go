package e2e

import (
	"net"
	"sync"
	"testing"
)

// network knows which nodes cannot hear each other. Every node is advertised
// under the address of a proxy, and dials its peers from its own loopback
// address, so that a proxy can tell who calls. Clients and managers call from
// 127.0.0.1 and are never cut off.
type network struct {
	mu      sync.Mutex
	changed sync.Cond
	cut     map[[2]string]bool // from, to: hosts
	lives   map[string]int     // by host: how often it was switched off or on; off while odd
	closed  bool
}

func newNetwork() *network {
	n := &network{cut: map[[2]string]bool{}, lives: map[string]int{}}
	n.changed.L = &n.mu
	return n
}

// set cuts or heals the way from one host to another. Bytes under way wait, as
// TCP makes them wait in a partition.
func (n *network) set(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = cut
	n.changed.Broadcast()
}

// power switches a host off, or on again. From the moment on which it is off
// nobody hears anything from it, not even what it has sent before.
func (n *network) power(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lives[host]++
	n.changed.Broadcast()
}

// way is the one from a host to another, of a connection that was made when they
// had these lives.
type way struct {
	from, to string
	lives    [2]int
}

// way makes one; false when one of the two is off.
func (n *network) way(from, to string) (way, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	lives := [2]int{n.lives[from], n.lives[to]}
	return way{from, to, lives}, lives[0]%2 == 0 && lives[1]%2 == 0
}

func (w way) back() way { return way{w.to, w.from, [2]int{w.lives[1], w.lives[0]}} }

// pass returns when the way is open; false when the network is gone, or one of the
// two was switched off.
func (n *network) pass(w way) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if n.closed || w.lives != [2]int{n.lives[w.from], n.lives[w.to]} {
			return false
		}
		if !n.cut[[2]string{w.from, w.to}] {
			return true
		}
		n.changed.Wait()
	}
}

func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.changed.Broadcast()
}

// proxy carries connections to one node.
type proxy struct {
	network  *network
	listener net.Listener
	target   string
	wait     sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
}

func newProxy(t *testing.T, n *network, host, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{network: n, listener: l, target: target, open: map[net.Conn]bool{}}
	p.wait.Add(1)
	go p.accept()
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	defer p.wait.Done()
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wait.Add(1)
		go p.serve(in)
	}
}

func (p *proxy) serve(in net.Conn) {
	defer p.wait.Done()
	defer in.Close()
	from, _, _ := net.SplitHostPort(in.RemoteAddr().String())
	to, _, _ := net.SplitHostPort(p.target)
	way, on := p.network.way(from, to)
	if !on || !p.keep(in) || !p.network.pass(way) {
		return
	}
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer out.Close()
	if !p.keep(out) {
		return
	}
	p.wait.Add(1)
	go func() {
		defer p.wait.Done()
		p.copy(in, out, way.back())
	}()
	p.copy(out, in, way)
}

// keep remembers a connection, so that close can end it.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		return false
	}
	p.open[c] = true
	return true
}

// copy carries bytes one way while the way is open, and ends both ways after.
func (p *proxy) copy(dst, src net.Conn, w way) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if !p.network.pass(w) {
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return // the end of the stream, or of the connection
		}
	}
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.open {
		c.Close()
	}
	p.open = nil
	p.mu.Unlock()
	p.wait.Wait()
}

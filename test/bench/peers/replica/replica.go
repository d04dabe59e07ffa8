// Package replica says what a server of this comparison is: one process of
// three that replicate records. It knows none of the systems.
package replica

import (
	"fmt"
	"path/filepath"

	"github.com/pinetree-db/pinetree/test/bench/peers/front"
)

// Count is the number of servers of each system.
const Count = 3

// ID is the number of a server: 1, 2 or 3.
type ID int

// Config says which server to start.
type Config struct {
	ID  ID
	Dir string // its own, and empty
	// Peers and Clients are where each server listens for the others and for
	// the load, in the order of their ids.
	Peers, Clients []string
	// Front is how records reach a library; servers with a client of their own
	// have none.
	Front front.Kind
	// Batch is how many records a library is given at once at most.
	Batch int
}

// Peer is where this server listens for the others.
func (c Config) Peer() string { return c.Peers[c.ID-1] }

// Client is where this server listens for the load.
func (c Config) Client() string { return c.Clients[c.ID-1] }

// Name is how this server is called where a system wants names.
func (c Config) Name() string { return NameOf(c.ID) }

// NameOf is how a server is called where a system wants names.
func NameOf(id ID) string { return fmt.Sprintf("n%d", id) }

// Path is a file or folder of this server.
func (c Config) Path(name string) string { return filepath.Join(c.Dir, name) }

// Status is what a server says of itself.
type Status struct {
	// Ready is set on the server that the load should talk to, once it is.
	Ready bool `json:"ready"`
	// Records are those that have reached this server's state, or for the
	// floor, its disk.
	Records uint64 `json:"records"`
	// Problem is why the server cannot say.
	Problem string `json:"problem,omitempty"`
}

// A Replica is a running server.
type Replica interface {
	// Status may be called from any goroutine.
	Status() (Status, error)
	// Close ends the server and everything that it started.
	Close() error
}

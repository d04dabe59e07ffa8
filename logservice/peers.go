package logservice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// peersFile caches, as JSON, where the other nodes are, so that a node that
// starts while every manager is away finds them.
const peersFile = "peers.json"

// peerTable is where the nodes of the cluster listen, as the manager last
// said. Any goroutine may call it.
type peerTable struct {
	path string

	mu    sync.RWMutex
	known map[pinetree.NodeID]peerAddress
}

type peerAddress struct {
	Address string `json:"address"`
	Zone    string `json:"zone,omitempty"`
}

// openPeers reads the cache. One that cannot be read is worth no more than
// none: the manager tells the addresses again.
func openPeers(path string) (*peerTable, error) {
	t := &peerTable{path: path, known: map[pinetree.NodeID]peerAddress{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(data, &t.known); err != nil {
		t.known = map[pinetree.NodeID]peerAddress{}
		return t, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// address tells where a node listens.
func (t *peerTable) address(id pinetree.NodeID) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p, ok := t.known[id]
	return p.Address, ok && p.Address != ""
}

// learn takes over the manager's list and stores it when it says anything new.
// Nodes that the list leaves out are kept: their ids are never given to others.
func (t *peerTable) learn(nodes []*wirepb.NodeInfo) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := maps.Clone(t.known)
	for _, n := range nodes {
		next[pinetree.NodeID(n.Node)] = peerAddress{Address: n.Address, Zone: n.Zone}
	}
	if maps.Equal(next, t.known) {
		return nil
	}
	t.known = next
	data, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(t.path, data)
}

// hint adds the leader's address to the refusal of a replica that does not
// lead, as far as it is known.
func (t *peerTable) hint(err error) error {
	refusal, ok := errors.AsType[*pinetree.NotLeaderError](err)
	if !ok || refusal.Leader == 0 || refusal.Addr != "" {
		return err
	}
	addr, known := t.address(refusal.Leader)
	if !known {
		return err
	}
	return &pinetree.NotLeaderError{Group: refusal.Group, Leader: refusal.Leader, Addr: addr}
}

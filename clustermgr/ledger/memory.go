package ledger

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Memory is a Store that forgets everything with the process, for tests and
// simulations. Managers that share one elect the active one among them.
type Memory struct {
	mu       sync.Mutex
	entries  map[string]Entry
	revision int64
	active   Office
	address  string
	changed  chan struct{} // closed and replaced when the office changes hands
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{entries: map[string]Entry{}, changed: make(chan struct{})}
}

// Campaign waits for the office.
func (m *Memory) Campaign(ctx context.Context, address string) (Office, error) {
	for {
		m.mu.Lock()
		if m.active == (Office{}) {
			m.revision++
			m.active = Office{Name: "office-" + strconv.FormatInt(m.revision, 10), Revision: m.revision}
			m.address = address
			m.tell()
			office := m.active
			m.mu.Unlock()
			return office, nil
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Office{}, ctx.Err()
		}
	}
}

// Confirm compares the office with the current one.
func (m *Memory) Confirm(ctx context.Context, office Office) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if office != m.active {
		return ErrNotActive
	}
	return nil
}

// Resign frees the office if it is the current one.
func (m *Memory) Resign(_ context.Context, office Office) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if office == m.active && office != (Office{}) {
		m.expire()
	}
	return nil
}

// Expire ends whatever office is held, as when the store has not heard from its
// holder for too long. The holder is not told.
func (m *Memory) Expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.active != (Office{}) {
		m.expire()
	}
}

func (m *Memory) expire() {
	m.active, m.address = Office{}, ""
	m.tell()
}

// tell wakes who waits for the office or watches it.
func (m *Memory) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Watch tells the address that the holder of the office gave.
func (m *Memory) Watch(ctx context.Context, tell func(address string)) error {
	for {
		m.mu.Lock()
		address, changed := m.address, m.changed
		m.mu.Unlock()
		tell(address)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Read lists entries in key order.
func (m *Memory) Read(_ context.Context, prefix string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []Entry
	for _, key := range slices.Sorted(maps.Keys(m.entries)) {
		if strings.HasPrefix(key, prefix) {
			e := m.entries[key]
			e.Value = slices.Clone(e.Value)
			found = append(found, e)
		}
	}
	return found, nil
}

// Swap checks everything, then changes everything.
func (m *Memory) Swap(ctx context.Context, office Office, changes []Change) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if office != m.active {
		return 0, ErrNotActive
	}
	for _, c := range changes {
		if c.Expect != AnyRevision && m.entries[c.Key].Revision != c.Expect {
			return 0, ErrConflict
		}
	}
	m.revision++
	for _, c := range changes {
		if c.Value == nil {
			delete(m.entries, c.Key)
			continue
		}
		m.entries[c.Key] = Entry{Key: c.Key, Value: slices.Clone(c.Value), Revision: m.revision}
	}
	return m.revision, nil
}

// Close does nothing: others may share the store.
func (m *Memory) Close() error { return nil }

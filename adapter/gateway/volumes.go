package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/metaclient"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// volumes are the clients of volumes, by what requests call them: a name, or an id
// in decimal. One that nobody uses is closed when another one needs its place.
type volumes struct {
	cfg   Config
	conns ship.Connections

	mu     sync.Mutex
	closed bool
	known  map[string]*volume
	all    map[*volume]bool // those that are known, and those that are used no more but still by somebody
	left   sync.Cond        // somebody is done
}

// volume is one of them. client, calls and err are set when found is closed; what
// follows belongs to the volumes' mutex.
type volume struct {
	name   string
	found  chan struct{}
	err    error
	client *ship.Client
	calls  *metaclient.Calls

	users int
	used  time.Time // last
}

func newVolumes(cfg Config) *volumes {
	v := &volumes{cfg: cfg, known: map[string]*volume{}, all: map[*volume]bool{}}
	v.left.L = &v.mu
	return v
}

// use finds a volume; done ends the use.
func (s *volumes) use(ctx context.Context, name string) (*volume, error) {
	v, fresh, err := s.enter(name)
	if err != nil {
		return nil, err
	}
	if fresh {
		s.find(ctx, v)
	}
	select {
	case <-v.found:
		err = v.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		s.done(v)
		return nil, err
	}
	return v, nil
}

// enter counts a user of a volume. The caller finds one that is fresh.
func (s *volumes) enter(name string) (v *volume, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, fmt.Errorf("%w: the gateway is closing", pinetree.ErrStopped)
	}
	if v = s.known[name]; v == nil {
		if len(s.known) >= s.cfg.MaxVolumes && !s.evict() {
			return nil, false, fmt.Errorf("%w: calls use %d volumes, the limit of this gateway; try again, or another node", pinetree.ErrQueueFull, len(s.known))
		}
		v, fresh = &volume{name: name, found: make(chan struct{})}, true
		s.known[name], s.all[v] = v, true
	}
	v.users++
	return v, fresh, nil
}

// evict drops what was not used for longest, of what nobody uses. The caller holds
// mu.
func (s *volumes) evict() bool {
	var oldest *volume
	for _, v := range s.known {
		if v.users == 0 && (oldest == nil || v.used.Before(oldest.used)) {
			oldest = v
		}
	}
	if oldest != nil {
		s.drop(oldest)
	}
	return oldest != nil
}

// drop makes nobody find a volume any more, and closes it when nobody uses it. The
// caller holds mu.
func (s *volumes) drop(v *volume) {
	if s.known[v.name] == v {
		delete(s.known, v.name)
	}
	if v.users == 0 && s.all[v] {
		delete(s.all, v)
		if v.client != nil {
			_ = v.client.Close() // it has no writers, and its connections are shared
		}
	}
}

// find dials. Others wait for it, too, so it does not end with the one who asked
// first.
func (s *volumes) find(ctx context.Context, v *volume) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.RetryFor)
	defer cancel()
	cfg := ship.Config{
		Managers: s.cfg.Managers, Zone: s.cfg.Zone, Dial: s.cfg.Dial, RetryFor: s.cfg.RetryFor, Connections: &s.conns, Logger: s.cfg.Logger,
	}
	if id, err := strconv.ParseUint(v.name, 10, 64); err == nil {
		cfg.ID = pinetree.VolumeID(id)
	} else {
		cfg.Volume = v.name
	}
	if v.client, v.err = ship.Dial(ctx, cfg); v.err == nil {
		v.calls = metaclient.NewCalls(v.client)
	}
	close(v.found)
}

// done ends a use. A volume that could not be found is looked for anew the next
// time.
func (s *volumes) done(v *volume) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.users--
	v.used = time.Now()
	select {
	case <-v.found:
		if v.err != nil || s.known[v.name] != v {
			s.drop(v)
		}
	default:
	}
	s.left.Broadcast()
}

// heard takes note of an error of a volume: the name of one that is gone may be
// another's by now.
func (s *volumes) heard(v *volume, err error) error {
	if errors.Is(err, pinetree.ErrUnknownVolume) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.drop(v)
	}
	return err
}

// close ends all uses and waits for them.
func (s *volumes) close() error {
	s.mu.Lock()
	s.closed = true
	for v := range s.all {
		s.mu.Unlock()
		<-v.found
		if v.client != nil {
			_ = v.client.Close() // which ends the calls on it
		}
		s.mu.Lock()
		for v.users > 0 {
			s.left.Wait()
		}
		delete(s.all, v)
	}
	s.mu.Unlock()
	return s.conns.Close()
}

package ship

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/adapter/picker"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Route is where a volume is.
type Route struct {
	Volume   pinetree.VolumeID
	Group    pinetree.GroupID
	Format   pinetree.Format
	Leader   pinetree.NodeID // zero when none is known
	Replicas []Replica
	// States is what the manager said of how the replicas are.
	States []picker.Replica
}

// Replica is one node that holds the volume.
type Replica struct {
	Node pinetree.NodeID
	Addr string
	Zone string
}

// errNoSuchVolume is a manager's word, unlike a node's, which may be behind.
var errNoSuchVolume = errors.New("the cluster manager knows no such volume")

// managerPause is how long managers that did not answer are left alone while
// there is a route to go by: asking them may take as long as their timeout.
const managerPause = time.Second

// refresh asks the managers for the route. Without an answer the last route, if
// there is one, stays.
func (c *Client) refresh(ctx context.Context) error {
	known := c.Route()
	c.mu.Lock()
	silent := known.Volume != 0 && time.Now().Before(c.askAgain)
	c.mu.Unlock()
	if silent {
		return nil
	}
	request := &wirepb.RouteRequest{VolumeName: c.cfg.Volume}
	if c.cfg.ID != 0 {
		request = &wirepb.RouteRequest{Volume: uint64(c.cfg.ID)}
	}
	response, err := c.askManagers(ctx, request)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // or it was the caller who did not wait
			c.mu.Lock()
			c.askAgain = time.Now().Add(managerPause)
			c.mu.Unlock()
		}
		if known.Volume != 0 && !settled(err) {
			c.cfg.Logger.Debug("no manager answers, going on with the last route", "volume", c.cfg.Volume, "error", err)
			return nil
		}
		if known.Volume == 0 && !settled(err) {
			return c.recall(err)
		}
		return err
	}
	info := response.GetVolume()
	fresh := Route{
		Volume: pinetree.VolumeID(info.GetVolume()), Group: pinetree.GroupID(info.GetGroup()),
		Format: pinetree.Format(info.GetFormat()), Leader: pinetree.NodeID(response.Leader), States: candidates(response),
	}
	for _, n := range response.Replicas {
		fresh.Replicas = append(fresh.Replicas, Replica{Node: pinetree.NodeID(n.Node), Addr: n.Address, Zone: n.Zone})
	}
	if known.Volume != 0 && fresh.Volume != known.Volume {
		return fmt.Errorf("%w: %w: volume %s was %d and is %d now: it was deleted and made again", errNoSuchVolume, pinetree.ErrUnknownVolume, c.cfg.Volume, known.Volume, fresh.Volume)
	}
	if fresh.Volume == 0 || len(fresh.Replicas) == 0 {
		return fmt.Errorf("the route of volume %s names no replicas yet", c.cfg.Volume)
	}
	c.remember(known, fresh)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adopt(fresh)
	return nil
}

// adopt goes by a route. The caller holds mu.
func (c *Client) adopt(r Route) {
	states := slices.Clone(r.States)
	if len(states) == 0 { // a stored route says nothing of how the replicas are
		for _, at := range r.Replicas {
			states = append(states, picker.Replica{Node: at.Node, Zone: at.Zone, Serves: true})
		}
	}
	c.route, c.suspect = r, false
	c.picker.Route(states, time.Now())
	c.stale = time.Now().Add(c.cfg.RouteEvery)
}

// candidates is what a route says of the replicas, for the picker. A manager of
// an older build says nothing of how they are.
func candidates(response *wirepb.RouteResponse) []picker.Replica {
	var list []picker.Replica
	for _, n := range response.Replicas {
		r := picker.Replica{Node: pinetree.NodeID(n.Node), Zone: n.Zone, Load: n.Load, Serves: true}
		for _, s := range response.States {
			if s.Node == n.Node {
				r.Serves, r.Applied, r.Behind = s.Serves, pinetree.LSN(s.AppliedLsn), time.Duration(s.BehindMs)*time.Millisecond
			}
		}
		list = append(list, r)
	}
	return list
}

// askManagers asks all managers side by side and returns the first answer.
func (c *Client) askManagers(ctx context.Context, request *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	type answer struct {
		response *wirepb.RouteResponse
		err      error
	}
	answers := make(chan answer, len(c.cfg.Managers))
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ManagerTimeout)
	defer cancel()
	for _, addr := range c.cfg.Managers {
		asking.Go(func() {
			conn, err := c.conn(addr)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			response, err := wirepb.NewManagerClient(conn).Route(ctx, request)
			if err != nil {
				err = fmt.Errorf("manager %s: %w", addr, err)
			}
			answers <- answer{response, err}
		})
	}
	var failed error
	for range c.cfg.Managers {
		a := <-answers
		switch {
		case a.err == nil:
			return a.response, nil
		case errors.Is(a.err, pinetree.ErrUnknownVolume):
			return nil, fmt.Errorf("%w: %w", errNoSuchVolume, a.err)
		}
		failed = alsoFailed(failed, a.err)
	}
	return nil, failed
}

// alsoFailed puts two errors on one line.
func alsoFailed(before, err error) error {
	if before == nil {
		return err
	}
	return fmt.Errorf("%w; %w", before, err)
}

// doubt makes the next call ask the managers before it goes by the route.
func (c *Client) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspect = true
}

// redirected goes where an error says that the leader is, and reports whether it
// said so; otherwise it doubts the route.
func (c *Client) redirected(err error) bool {
	if hint, ok := errors.AsType[*pinetree.NotLeaderError](err); ok && hint.Leader != 0 {
		if to := c.Route().replica(hint); len(to) > 0 {
			c.leads(to[0])
			return true
		}
	}
	c.doubt()
	return false
}

// trusted returns the route, fresh from the managers if it was in doubt.
func (c *Client) trusted(ctx context.Context) (Route, error) {
	c.mu.Lock()
	route, suspect := c.route, c.suspect
	c.mu.Unlock()
	if !suspect {
		return route, nil
	}
	return c.Refresh(ctx)
}

// nodeCall is a call to one replica. Its context ends with the attempt.
type nodeCall func(ctx context.Context, at Replica, conn *asking.Conn) error

// onLeader makes one round: the leader of the route is asked first, then
// whoever is hinted at, then the other replicas, until one does not send the
// caller elsewhere. Whoever answers is asked first the next time.
func (c *Client) onLeader(ctx context.Context, call nodeCall) error {
	route, err := c.trusted(ctx)
	if err != nil {
		return err
	}
	queue := route.leaderFirst()
	var asked []string
	var failed error
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if slices.Contains(asked, at.Addr) {
			continue
		}
		asked = append(asked, at.Addr)
		err := c.attempt(ctx, at, call)
		if err == nil {
			c.leads(at)
			return nil
		}
		if ctx.Err() != nil || !Elsewhere(err) {
			return err
		}
		failed = alsoFailed(failed, err)
		if hint, ok := errors.AsType[*pinetree.NotLeaderError](err); ok && hint.Leader != 0 {
			queue = slices.Insert(queue, 0, route.replica(hint)...)
		}
	}
	c.doubt()
	return failed
}

// replica finds whom a hint means; nobody when it names no known address.
func (r Route) replica(hint *pinetree.NotLeaderError) []Replica {
	if hint.Addr != "" {
		return []Replica{{Node: hint.Leader, Addr: hint.Addr}}
	}
	for _, known := range r.Replicas {
		if known.Node == hint.Leader {
			return []Replica{known}
		}
	}
	return nil
}

// leads takes note of who answered as the leader.
func (c *Client) leads(at Replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.route.Leader = at.Node
	if slices.ContainsFunc(c.route.Replicas, func(r Replica) bool { return r.Node == at.Node && r.Addr == at.Addr }) {
		return
	}
	// A hint knew it, or a newer address of it.
	replicas := slices.DeleteFunc(slices.Clone(c.route.Replicas), func(r Replica) bool { return r.Node == at.Node })
	c.route.Replicas = append(replicas, at)
}

func (c *Client) attempt(ctx context.Context, at Replica, call nodeCall) error {
	conn, err := c.conn(at.Addr)
	if err == nil {
		err = call(ctx, at, conn)
	}
	if err != nil {
		return fmt.Errorf("node %d at %s: %w", at.Node, at.Addr, err)
	}
	return nil
}

// leaderFirst lists the replicas, the leader before the others.
func (r Route) leaderFirst() []Replica {
	list := slices.Clone(r.Replicas)
	if at := slices.IndexFunc(list, func(at Replica) bool { return at.Node == r.Leader }); at > 0 {
		leader := list[at]
		copy(list[1:at+1], list[:at])
		list[0] = leader
	}
	return list
}

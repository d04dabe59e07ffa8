package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// mark is an instant in the change of a leader.
type mark struct {
	at   time.Time
	what string
}

// timeline tells in words what happened to a group and its leader's node from an
// instant on: the manager's events, to the millisecond. The manager tells only of
// those that it has stored, so they are waited for a little.
func (c *cluster) timeline(from time.Time, group uint64, leader pinetree.NodeID, more ...mark) string {
	marks := more
	var list *wirepb.ListEventsResponse
	for range 20 {
		var err error
		list, err = c.manages().ListEvents(c.within(2*time.Second), &wirepb.ListEventsRequest{Limit: 1000, Newest: true})
		if err != nil {
			return err.Error()
		}
		if slices.ContainsFunc(list.Events, func(e *wirepb.Event) bool {
			return e.Kind == "activated" && e.Group == group && e.UnixMs >= from.UnixMilli()
		}) {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	for _, e := range list.Events {
		at := time.UnixMilli(e.UnixMs)
		mine := e.Group == group || e.Group == 0 && e.Node == uint64(leader)
		if mine && !at.Before(from.Truncate(time.Millisecond)) {
			marks = append(marks, mark{at, fmt.Sprintf("%s of node %d", e.Kind, e.Node)})
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return a.at.Compare(b.at) })
	words := make([]string, len(marks))
	for i, m := range marks {
		words[i] = fmt.Sprintf("%s +%d ms", m.what, m.at.Sub(from).Milliseconds())
	}
	return strings.Join(words, ", ")
}

// events are those of a kind that are about a node, since an instant.
func (c *cluster) events(kind string, node pinetree.NodeID, since time.Time) []*wirepb.Event {
	c.t.Helper()
	list, err := c.manages().ListEvents(c.within(2*time.Second), &wirepb.ListEventsRequest{Limit: 1000, Newest: true})
	if err != nil {
		c.t.Fatal(err)
	}
	return slices.DeleteFunc(list.Events, func(e *wirepb.Event) bool {
		return e.Kind != kind || e.Node != uint64(node) || time.UnixMilli(e.UnixMs).Before(since.Truncate(time.Millisecond))
	})
}

// spans tells in words when, from an instant on, the manager's events of each kind
// began and ended.
func (c *cluster) spans(from time.Time) string {
	list, err := c.manages().ListEvents(c.within(2*time.Second), &wirepb.ListEventsRequest{Limit: 1000, Newest: true})
	if err != nil {
		return err.Error()
	}
	type span struct {
		count       int
		first, last int64
	}
	spans := map[string]*span{}
	var kinds []string
	for _, e := range list.Events {
		at := e.UnixMs - from.UnixMilli()
		switch s := spans[e.Kind]; {
		case at < 0:
		case s == nil:
			spans[e.Kind] = &span{1, at, at}
			kinds = append(kinds, e.Kind)
		default:
			s.count, s.last = s.count+1, at
		}
	}
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = fmt.Sprintf("%d × %s +%d to +%d ms", spans[k].count, k, spans[k].first, spans[k].last)
	}
	return strings.Join(words, ", ")
}

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
)

// Errors of Place.
var (
	// ErrTooFewNodes: the group cannot be placed on the nodes that live.
	ErrTooFewNodes = errors.New("too few live nodes")
	// ErrReplicas: no group has that many replicas.
	ErrReplicas = errors.New("bad number of replicas")
)

// Site is a node as placement sees it.
type Site struct {
	Node     pinetree.NodeID
	Zone     string
	Replicas int
	Shunned  bool // is to be avoided as long as there is another one
}

// Place picks the voters of a new group among nodes that live: one after the
// other from the zone with the fewest voters so far, those that are not shunned
// and the home zone before their equals, and in it the node with the fewest
// replicas.
func Place(sites []Site, count int, home string) ([]pinetree.NodeID, error) {
	if count < 1 || count%2 == 0 || count > 7 {
		return nil, fmt.Errorf("%w: %d; a group has 1, 3, 5 or 7, for an even number survives no more failures than one less", ErrReplicas, count)
	}
	if len(sites) < count {
		return nil, fmt.Errorf("%w: %d replicas need as many, and there are %d; start more nodes and try again", ErrTooFewNodes, count, len(sites))
	}
	left := slices.Clone(sites)
	taken := map[string]int{}
	var voters []pinetree.NodeID
	for range count {
		best := slices.MinFunc(left, func(a, b Site) int {
			return cmp.Or(
				cmp.Compare(taken[a.Zone], taken[b.Zone]),
				cmp.Compare(shunned(a), shunned(b)),
				cmp.Compare(outside(home, a.Zone), outside(home, b.Zone)),
				cmp.Compare(a.Replicas, b.Replicas),
				cmp.Compare(a.Node, b.Node),
			)
		})
		voters = append(voters, best.Node)
		taken[best.Zone]++
		left = slices.DeleteFunc(left, func(s Site) bool { return s.Node == best.Node })
	}
	slices.Sort(voters)
	return voters, nil
}

func shunned(s Site) int {
	if s.Shunned {
		return 1
	}
	return 0
}

// outside is 1 for a zone that is not the wished one.
func outside(home, zone string) int {
	if home == "" || home == zone {
		return 0
	}
	return 1
}

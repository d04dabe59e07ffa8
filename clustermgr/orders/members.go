package orders

import (
	"context"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// CreateBlank has a node make a replica that waits for its first state. Again
// is no error.
func (n *Nodes) CreateBlank(ctx context.Context, to Target, group pinetree.GroupID) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Call)
	defer cancel()
	client, err := n.client(to.Address)
	if err == nil {
		_, err = client.CreateReplica(ctx, &wirepb.CreateReplicaRequest{Group: uint64(group), Blank: true})
	}
	if err != nil {
		return fmt.Errorf("node %d does not make a blank replica: %w", to.Node, err)
	}
	return nil
}

// ChangeMembership has the leader of a group change its members, and waits until
// that is through. After an error the change may have been made.
func (n *Nodes) ChangeMembership(ctx context.Context, to Target, q *wirepb.ChangeMembershipRequest) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Call)
	defer cancel()
	client, err := n.client(to.Address)
	if err == nil {
		_, err = client.ChangeMembership(ctx, q)
	}
	if err != nil {
		return fmt.Errorf("node %d does not change the members: %w", to.Node, err)
	}
	return nil
}

// RemoveReplica has a node remove the files of a replica that is no member.
// Again is no error.
func (n *Nodes) RemoveReplica(ctx context.Context, to Target, q *wirepb.RemoveReplicaRequest) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Call)
	defer cancel()
	client, err := n.client(to.Address)
	if err == nil {
		_, err = client.RemoveReplica(ctx, q)
	}
	if err != nil {
		return fmt.Errorf("node %d does not remove its former replica: %w", to.Node, err)
	}
	return nil
}

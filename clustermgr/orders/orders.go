package orders

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Target is a node and where it is reached.
type Target struct {
	Node    pinetree.NodeID
	Address string
}

// CreateReplica has a node make its replica of a new group. Again is no error.
func (n *Nodes) CreateReplica(ctx context.Context, to Target, group pinetree.GroupID, voters []pinetree.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Call)
	defer cancel()
	request := &wirepb.CreateReplicaRequest{Group: uint64(group)}
	for _, v := range voters {
		request.Voters = append(request.Voters, uint64(v))
	}
	client, err := n.client(to.Address)
	if err == nil {
		_, err = client.CreateReplica(ctx, request)
	}
	if err != nil {
		return fmt.Errorf("node %d does not make its replica: %w", to.Node, err)
	}
	return nil
}

// CreateVolume has the leader of a group add a volume to it. Again is no error.
func (n *Nodes) CreateVolume(ctx context.Context, to Target, v *wirepb.NodeCreateVolumeRequest) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Call)
	defer cancel()
	client, err := n.client(to.Address)
	if err == nil {
		_, err = client.CreateVolume(ctx, v)
	}
	if err != nil {
		return fmt.Errorf("node %d does not make volume %d: %w", to.Node, v.GetVolume(), err)
	}
	return nil
}

// DropVolume has the leader of a group take a volume out of it, with all that it has.
// Again is no error.
func (n *Nodes) DropVolume(ctx context.Context, to Target, v *wirepb.NodeDropVolumeRequest) error {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Call)
	defer cancel()
	client, err := n.client(to.Address)
	if err == nil {
		_, err = client.DropVolume(ctx, v)
	}
	if err != nil {
		return fmt.Errorf("node %d does not delete volume %d: %w", to.Node, v.GetVolume(), err)
	}
	return nil
}

// Appointment is an appointment of a group.
type Appointment struct {
	Group pinetree.GroupID
	ID    pinetree.AppointmentID
}

// Appoint orders a node to lead and waits until it does.
func (n *Nodes) Appoint(ctx context.Context, to Target, a Appointment) (*wirepb.ReplicaStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Appoint)
	defer cancel()
	return n.appoint(ctx, to, &wirepb.AppointRequest{Group: uint64(a.Group), Appointment: uint64(a.ID)})
}

func (n *Nodes) appoint(ctx context.Context, to Target, q *wirepb.AppointRequest) (*wirepb.ReplicaStatus, error) {
	client, err := n.client(to.Address)
	if err != nil {
		return nil, err
	}
	response, err := client.Appoint(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("node %d was appointed and does not lead: %w", to.Node, err)
	}
	if !response.GetStatus().GetLeader() {
		return nil, fmt.Errorf("node %d was appointed and answered without leading", to.Node)
	}
	return response.GetStatus(), nil
}

// Transfer is a planned change of leaders.
type Transfer struct {
	Group    pinetree.GroupID
	From, To Target
	Release  pinetree.AppointmentID // the old leader's, given up first
	Take     pinetree.AppointmentID // the new leader's
	MaxPause time.Duration
	MaxLag   uint64 // bytes
}

func (t Transfer) request() *wirepb.TransferRequest {
	return &wirepb.TransferRequest{
		Group: uint64(t.Group), Appointment: uint64(t.Release), To: uint64(t.To.Node),
		MaxPauseMs: uint32(t.MaxPause.Milliseconds()), MaxLagBytes: t.MaxLag,
	}
}

// CheckTransfer asks the old leader whether it would hand over now. The answer is
// why it would not, or nothing, and whether that may pass because it is a lag.
func (n *Nodes) CheckTransfer(ctx context.Context, t Transfer) (refused string, lags bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeouts.Probe)
	defer cancel()
	from, err := n.client(t.From.Address)
	if err != nil {
		return "", false, err
	}
	q := t.request()
	q.Check = true
	answer, err := from.Transfer(ctx, q)
	if err != nil {
		return "", false, fmt.Errorf("node %d does not say whether it can hand over: %w", t.From.Node, err)
	}
	return answer.GetReason(), answer.GetLags(), nil
}

// Patience is for how long something is waited for, and how often it is asked for.
type Patience struct{ For, Pace time.Duration }

// AwaitTransfer waits until the old leader would hand over, as long as nothing but
// a lag of the new one keeps it from that. The group is served meanwhile. The
// error says why it would not.
func (n *Nodes) AwaitTransfer(ctx context.Context, t Transfer, p Patience) error {
	for began := time.Now(); ; time.Sleep(p.Pace) {
		refused, lags, err := n.CheckTransfer(ctx, t)
		switch {
		case err != nil || refused == "":
			return err
		case !lags:
			return fmt.Errorf("node %d would not hand over: %s", t.From.Node, refused)
		case time.Since(began) > p.For:
			return fmt.Errorf("node %d would not hand over, and did not within %v: %s", t.From.Node, p.For, refused)
		}
	}
}

// HandOver lets the new leader wait for the leadership while the old one
// releases its lease and transfers. It calls released as soon as the old one
// says that it did, with how long ago that was, whether the transfer succeeded
// or not. On return without an error the new one leads.
func (n *Nodes) HandOver(ctx context.Context, t Transfer, released func(ago time.Duration)) (*wirepb.ReplicaStatus, error) {
	from, err := n.client(t.From.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.MaxPause+n.timeouts.Appoint)
	defer cancel()
	var status *wirepb.ReplicaStatus
	var taking error
	var taker sync.WaitGroup
	taker.Go(func() {
		status, taking = n.appoint(ctx, t.To, &wirepb.AppointRequest{Group: uint64(t.Group), Appointment: uint64(t.Take), Wait: true})
	})
	defer taker.Wait()
	transfer, err := from.Transfer(ctx, t.request())
	if transfer.GetReleased() {
		released(time.Duration(transfer.GetPauseUs()) * time.Microsecond)
	}
	switch {
	case err != nil:
		cancel()
		return nil, fmt.Errorf("node %d did not hand over: %w", t.From.Node, err)
	case !transfer.GetTransferred():
		cancel()
		return nil, fmt.Errorf("node %d did not hand over: %s", t.From.Node, transfer.GetReason())
	}
	taker.Wait()
	return status, taking
}

package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// MetaTxn carries out a transaction on a volume's metadata. It is durable on a
// quorum and replayed here on return. What the replicas refuse, with an error of
// meta.Evaluate, or this leader on their behalf, was not carried out. After any
// other error the outcome is not known, unless it is pinetree.ErrBadBatch or
// pinetree.ErrQueueFull: send a transaction that has an id again, to whoever leads,
// and it is told. Without a deadline in ctx it ends after ten seconds.
func (g *Group) MetaTxn(ctx context.Context, id pinetree.VolumeID, txn meta.Txn) (meta.Result, error) {
	table, err := g.mayWriteMeta(id)
	if err == nil {
		err = txn.Check()
	}
	if err != nil {
		return meta.Result{}, err
	}
	if err := g.host.space.Admit(ctx, txn.Size()); err != nil {
		return meta.Result{}, err
	}
	// What would be refused at replay need not go there.
	quota := g.engine.Position().Volumes[id].Settings.MetaBytes
	if _, _, err := meta.Evaluate(table, meta.Proposal{Txn: txn, Quota: quota}); errors.Is(err, pinetree.ErrOverQuota) {
		return meta.Result{}, err
	}
	question, err := g.outcomes.Ask(txn.Size())
	if err != nil {
		return meta.Result{}, err
	}
	defer question.Close()
	ctx, cancel := context.WithTimeout(ctx, maxReadWait)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return meta.Result{}, err // nobody waits any more: a later attempt may have been answered
	}
	err = g.Control(ctx, storepb.StoreMetaTxn(id, txn, question.Asker()))
	switch {
	case errors.Is(err, pinetree.ErrQueueFull):
		return meta.Result{}, err
	case err != nil:
		return meta.Result{}, fmt.Errorf("metadata of volume %d: the transaction's outcome is not known; with an id it can be sent again: %w", id, err)
	}
	outcome := question.Outcome()
	if outcome == nil {
		return meta.Result{}, fmt.Errorf("%w: volume %d is gone from group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return outcome.Result, outcome.Err
}

// MetaCompact gives up the history of a volume's metadata below a revision, which
// can still be read afterwards, and returns the oldest that can. A revision that
// there is not yet is a pinetree.ErrNotFound.
func (g *Group) MetaCompact(ctx context.Context, id pinetree.VolumeID, to pinetree.MetaRevision) (pinetree.MetaRevision, error) {
	ctx, cancel := context.WithTimeout(ctx, maxReadWait)
	defer cancel()
	for {
		table, err := g.mayWriteMeta(id)
		if err != nil {
			return 0, err
		}
		if to <= table.Compacted() {
			return table.Compacted(), nil
		}
		if _, err := table.Readable(to); err != nil {
			return table.Compacted(), err
		}
		if err := g.Control(ctx, storepb.StoreMetaCompact(id, to)); err != nil {
			return table.Compacted(), fmt.Errorf("metadata of volume %d: compacting up to revision %d: %w", id, to, err)
		}
	}
}

// mayWriteMeta returns the metadata of a volume as it is replayed here, or why
// this replica cannot propose a change of it.
func (g *Group) mayWriteMeta(id pinetree.VolumeID) (*meta.Table, error) {
	if g.refused != nil || !g.view.Load().Leads {
		return nil, g.notLeader()
	}
	return g.engine.Meta(id)
}

// ReadMeta calls fn with the metadata of a volume, as fresh as asked for; see Read.
// The LSN of the request is waited for, too.
func (g *Group) ReadMeta(ctx context.Context, q ReadRequest, fn func(*meta.Table) error) (Answer, error) {
	return g.Read(ctx, q, func(engine.Reader) error {
		table, err := g.engine.Meta(q.Volume)
		if err != nil {
			return err
		}
		return fn(table)
	})
}

// FollowMeta waits until the volume's metadata is replayed beyond a revision and
// returns how far it is, or until there is no such volume. It is how a watch goes on.
func (g *Group) FollowMeta(ctx context.Context, id pinetree.VolumeID, beyond pinetree.MetaRevision) (pinetree.MetaRevision, error) {
	if g.refused != nil {
		return 0, g.refused
	}
	at, err := g.progress.WaitVolume(ctx, id, func(v pinetree.VolumePosition) bool { return v.MetaRevision > beyond })
	return at.MetaRevision, err
}

package meta

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// Reason is why a transaction was not carried out.
type Reason uint8

// The reasons.
const (
	OverQuota      Reason = iota + 1 // the volume would keep more than it may
	TooManyChanges                   // it would change more than MaxTxnChanges keys
)

// Refusal is the error of a transaction that the replicas refused, with the
// figures.
type Refusal struct {
	Reason        Reason
	Figure, Limit int64 // in bytes, or keys
}

// Error says it in words.
func (r Refusal) Error() string {
	if r.Reason == OverQuota {
		return fmt.Sprintf("%v: with this transaction the metadata would take %d bytes, history included, the limit is %d; compact its history, delete keys or raise the limit", r.Unwrap(), r.Figure, r.Limit)
	}
	return fmt.Sprintf("%v: metadata transaction: it would change more than %d keys; delete in several transactions", r.Unwrap(), r.Limit)
}

// Unwrap is pinetree.ErrOverQuota, or pinetree.ErrBadBatch.
func (r Refusal) Unwrap() error {
	if r.Reason == OverQuota {
		return pinetree.ErrOverQuota
	}
	return pinetree.ErrBadBatch
}

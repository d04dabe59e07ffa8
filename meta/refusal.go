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
	Forgotten                        // it may have been carried out, more than MaxMemories transactions ago
)

// Refusal is the error of a transaction that the replicas refused, with the
// figures.
type Refusal struct {
	Reason        Reason
	Figure, Limit int64 // in bytes, keys or transactions
}

// Error says it in words.
func (r Refusal) Error() string {
	switch r.Reason {
	case Forgotten:
		return fmt.Sprintf("%v: metadata transaction: more than %d others were carried out since revision %d, after which it was first sent; read what it would have written to learn whether it was one of them", r.Unwrap(), r.Limit, r.Figure)
	case OverQuota:
		return fmt.Sprintf("%v: with this transaction the metadata would take %d bytes, history included, the limit is %d; compact its history, delete keys or raise the limit", r.Unwrap(), r.Figure, r.Limit)
	default:
		return fmt.Sprintf("%v: metadata transaction: it would change more than %d keys; delete in several transactions", r.Unwrap(), r.Limit)
	}
}

// Unwrap is pinetree.ErrOverQuota, pinetree.ErrTruncated for what is forgotten, or
// pinetree.ErrBadBatch.
func (r Refusal) Unwrap() error {
	switch r.Reason {
	case OverQuota:
		return pinetree.ErrOverQuota
	case Forgotten:
		return pinetree.ErrTruncated
	default:
		return pinetree.ErrBadBatch
	}
}

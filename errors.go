package pinetree

import (
	"errors"
	"fmt"
)

// Sentinel errors. Each has one gRPC code and one reason (proto/wirepb), so
// errors.Is works on both sides of the wire. Details travel in the typed
// errors below.
var (
	// ErrStaleComputeTerm: a newer compute term of the volume is open. Final
	// for this writer. See StaleComputeTermError.
	ErrStaleComputeTerm = errors.New("compute term replaced by a newer one")
	// ErrStaleAppointment: the manager has made a newer appointment.
	ErrStaleAppointment = errors.New("appointment replaced by a newer one")
	// ErrNotLeader: ask the leader instead. See NotLeaderError.
	ErrNotLeader = errors.New("not the leader of this group")
	// ErrNoLease: the read needs a lease or a quorum and has neither.
	ErrNoLease = errors.New("no lease and no quorum")
	// ErrStopped: the replica or the node has stopped or is stopping.
	ErrStopped = errors.New("stopped")
	// ErrQueueFull: a bounded queue is full; wait and send again.
	ErrQueueFull = errors.New("queue full")
	// ErrDiskFull: free space is under the mark at which writers are stopped.
	ErrDiskFull = errors.New("disk full")
	// ErrOverQuota: the volume has used what its settings allow it; the error says
	// how much of what.
	ErrOverQuota = errors.New("over quota")
	// ErrBadBatch: the batch or the request breaks a rule; sending it again
	// will not help.
	ErrBadBatch = errors.New("bad batch")
	// ErrUnknownVolume: there is no such volume here.
	ErrUnknownVolume = errors.New("unknown volume")
	// ErrUnknownGroup: there is no such group here.
	ErrUnknownGroup = errors.New("unknown group")
	// ErrTruncated: the LSN is below what is kept. See TruncatedError.
	ErrTruncated = errors.New("truncated")
	// ErrCorrupt: a checksum or a structure is wrong. The data is not served.
	ErrCorrupt = errors.New("corrupt")
	// ErrNotFound: no such key, page or object at that LSN.
	ErrNotFound = errors.New("not found")
	// ErrExists: an object of that name exists with other properties.
	ErrExists = errors.New("already exists")
)

// StaleComputeTermError tells a replaced writer by which term, and up to where
// the volume's log is durable: nothing of the old term is or will be after it.
type StaleComputeTermError struct {
	Volume  VolumeID
	Term    ComputeTerm // the term that is open now
	Durable LSN
}

// Error says it in words.
func (e *StaleComputeTermError) Error() string {
	return fmt.Sprintf("volume %d: compute term %d is open; this writer is fenced for good; the log is durable up to %s", e.Volume, e.Term, e.Durable)
}

// Unwrap makes errors.Is(err, ErrStaleComputeTerm) true.
func (e *StaleComputeTermError) Unwrap() error { return ErrStaleComputeTerm }

// NotLeaderError names the leader, as far as it is known.
type NotLeaderError struct {
	Group  GroupID
	Leader NodeID // zero when unknown
	Addr   string // empty when unknown
}

// Error says it in words.
func (e *NotLeaderError) Error() string {
	if e.Leader == 0 {
		return fmt.Sprintf("group %d: this node is not the leader and knows none; ask the cluster manager", e.Group)
	}
	return fmt.Sprintf("group %d: this node is not the leader; node %d %s may be", e.Group, e.Leader, e.Addr)
}

// Unwrap makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }

// TruncatedError names the first LSN that is still there.
type TruncatedError struct {
	Volume VolumeID
	Asked  LSN
	First  LSN
}

// Error says it in words.
func (e *TruncatedError) Error() string {
	return fmt.Sprintf("volume %d: %s is no longer kept; the log begins at %s", e.Volume, e.Asked, e.First)
}

// Unwrap makes errors.Is(err, ErrTruncated) true.
func (e *TruncatedError) Unwrap() error { return ErrTruncated }

// CorruptError says where something wrong was found, in words that lead an
// operator to the place.
type CorruptError struct {
	Where string // file and offset, or volume and LSN
	What  string
}

// Error says it in words.
func (e *CorruptError) Error() string { return "corrupt: " + e.Where + ": " + e.What }

// Unwrap makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

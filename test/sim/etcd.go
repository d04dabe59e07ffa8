package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// etcd is the managers' durable memory: who of them is active, and one record
// per group, changed only by the active one and only from what it has read.
type etcd struct {
	owner   *manager
	session uint64 // counts the owners
	until   time.Duration
	records map[pinetree.GroupID]stored
}

type stored struct {
	record   lease.Record
	revision uint64
}

// sessionTime is how long an owner stays without a sign of life.
const sessionTime = 900 * time.Millisecond

// claim makes a manager the active one, if there is none; it returns the number
// of its session, or zero.
func (e *etcd) claim(m *manager, now time.Duration) uint64 {
	if now < e.until && e.owner != m {
		return 0
	}
	e.owner, e.until = m, now+sessionTime
	e.session++
	return e.session
}

// keep lengthens a session, unless it is over.
func (e *etcd) keep(session uint64, now time.Duration) bool {
	if session != e.session || now >= e.until {
		return false
	}
	e.until = now + sessionTime
	return true
}

// write changes a group's record, unless the session is over or the record was
// changed since it was read.
func (e *etcd) write(session uint64, g pinetree.GroupID, next stored, now time.Duration) bool {
	if session != e.session || now >= e.until || e.records[g].revision+1 != next.revision {
		return false
	}
	e.records[g] = next
	return true
}

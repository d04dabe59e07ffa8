// Package accord is what all managers of a cluster agree on: settings that the
// active one records, and that every other one has, too, or does not take part. It
// also tells how long a manager that takes office waits for what the one before may
// have granted by other settings. It knows the store, and neither nodes nor groups.
package accord

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/settings"
	"github.com/pinetree-db/pinetree/lease"
)

// RefusedError tells that a manager was told other settings than its cluster has.
// Trying again is of no use.
type RefusedError struct {
	// Differences are what the cluster has and what this manager was told, in words.
	Differences []string
}

// Error says what differs and what to do.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("this cluster manager was started with other settings than its cluster has: %s. Start it with those of the cluster; "+
		"or change them, by restarting all managers one after the other with the new ones and --new-settings", strings.Join(e.Differences, "; "))
}

// of are the settings of a manager as they are recorded.
func of(cfg settings.Config) ledger.Settings {
	return ledger.Settings{
		Grants:         ledger.Grants{LeaseMS: millis(cfg.Lease.Duration), MaxDrift: cfg.Lease.MaxDrift, OfficeClaimMS: millis(cfg.OfficeClaim)},
		QuorumAgeMS:    millis(cfg.Lease.MaxQuorumAge),
		FsyncPendingMS: millis(cfg.Lease.MaxFsyncPending),
		HeartbeatMS:    millis(cfg.Heartbeat),
		SilentAfterMS:  millis(cfg.SilentAfter),
		DeadAfterMS:    millis(cfg.DeadAfter),
		SickAfterMS:    millis(cfg.SickAfter),
		ReplaceAfterMS: millis(cfg.Replicas.ReplaceAfter),
	}
}

// millis rounds up, so that nothing is waited for too short.
func millis(d time.Duration) int64 { return int64(math.Ceil(d.Seconds() * 1000)) }

func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// check refuses settings that differ from the recorded ones. What is not recorded,
// because nobody has taken office yet or an older build has, is no difference.
func check(recorded ledger.Settings, cfg settings.Config) error {
	mine := of(cfg)
	refused := &RefusedError{}
	for _, s := range []struct {
		name      string
		has, told int64
	}{
		{"a lease", recorded.LeaseMS, mine.LeaseMS},
		{"the claim to the office", recorded.OfficeClaimMS, mine.OfficeClaimMS},
		{"the age of a quorum's word", recorded.QuorumAgeMS, mine.QuorumAgeMS},
		{"the wait of an fsync", recorded.FsyncPendingMS, mine.FsyncPendingMS},
		{"the time between heartbeats", recorded.HeartbeatMS, mine.HeartbeatMS},
		{"the time until a node is silent", recorded.SilentAfterMS, mine.SilentAfterMS},
		{"the time until a node is dead", recorded.DeadAfterMS, mine.DeadAfterMS},
		{"the time until a leader is sick", recorded.SickAfterMS, mine.SickAfterMS},
		{"the time until lost replicas are replaced", recorded.ReplaceAfterMS, mine.ReplaceAfterMS},
	} {
		if s.has != 0 && s.has != s.told {
			refused.Differences = append(refused.Differences, fmt.Sprintf("%s is %v in the cluster, and %v here", s.name, duration(s.has), duration(s.told)))
		}
	}
	if recorded.LeaseMS != 0 && recorded.MaxDrift != mine.MaxDrift {
		refused.Differences = append(refused.Differences, fmt.Sprintf("the drift of clocks is %g in the cluster, and %g here", recorded.MaxDrift, mine.MaxDrift))
	}
	if len(refused.Differences) == 0 {
		return nil
	}
	return refused
}

// most is the longest that grants by one of two settings count.
func most(a, b ledger.Grants) ledger.Grants {
	return ledger.Grants{
		LeaseMS: max(a.LeaseMS, b.LeaseMS), MaxDrift: max(a.MaxDrift, b.MaxDrift), OfficeClaimMS: max(a.OfficeClaimMS, b.OfficeClaimMS),
	}
}

// before is what may have been granted by the time of a record: by its settings, or
// by those that it replaced.
func before(recorded ledger.Settings) ledger.Grants {
	if recorded.Former == nil {
		return recorded.Grants
	}
	return most(recorded.Grants, *recorded.Former)
}

// since is the instant from which nobody else grants, when the office was taken at
// an instant. A granter waits from there on for a lease of its own rules, so what
// the former ones were longer is added.
func since(taken lease.Instant, former ledger.Grants, own lease.Rules) lease.Instant {
	scaled := func(ms int64) time.Duration {
		return time.Duration(math.Ceil(float64(duration(ms)) * (1 + former.MaxDrift)))
	}
	return taken.Add(scaled(former.OfficeClaimMS) + max(0, scaled(former.LeaseMS)-own.Wait()))
}

package operator

import (
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/keeping"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// The JSON forms of the listings. Scripts depend on them: fields are added,
// never renamed.

type nodeJSON struct {
	Node     uint64 `json:"node"`
	Address  string `json:"address"`
	Zone     string `json:"zone"`
	State    string `json:"state"`
	SilentMS uint32 `json:"silent_ms"`
	Leaders  uint32 `json:"leaders"`
	Replicas uint32 `json:"replicas"`
	Draining bool   `json:"draining"`
	Leaving  bool   `json:"leaving"`
	// QuarantineMS is for how much longer it is not appointed.
	QuarantineMS uint32 `json:"quarantine_ms"`
	Note         string `json:"note"`
	FsyncUS      uint32 `json:"fsync_us"`
	Space        string `json:"space"`
	Load         uint32 `json:"load"`
}

type nodeShowJSON struct {
	nodeJSON
	Groups []groupOnJSON `json:"groups"`
}

type groupOnJSON struct {
	Group uint64 `json:"group"`
	Leads bool   `json:"leads"`
}

type removalJSON struct {
	Node    uint64 `json:"node"`
	Removed bool   `json:"removed"`
	Leaving bool   `json:"leaving"`
}

type safetyJSON struct {
	Node    uint64   `json:"node"`
	Safe    bool     `json:"safe"`
	Reasons []string `json:"reasons"`
	Notes   []string `json:"notes"`
}

type deletedGroupJSON struct {
	Group   uint64 `json:"group"`
	Deleted bool   `json:"deleted"`
}

type deletedVolumeJSON struct {
	Volume uint64 `json:"volume"`
	Name   string `json:"name"`
	Group  uint64 `json:"group"`
}

type routeJSON struct {
	Volume   volumeJSON  `json:"volume"`
	Leader   uint64      `json:"leader"`
	Replicas []nodeJSON  `json:"replicas"`
	States   []stateJSON `json:"states"`
}

type stateJSON struct {
	Node     uint64       `json:"node"`
	Applied  pinetree.LSN `json:"applied"`
	BehindMS uint32       `json:"behind_ms"`
	AgeMS    uint32       `json:"age_ms"`
	Serves   bool         `json:"serves"`
}

type volumeShowJSON struct {
	routeJSON
	Words []string      `json:"words"`
	Kept  *keeping.Kept `json:"kept,omitempty"` // left out when no replica said
}

type contextJSON struct {
	cli.Context
	Current bool `json:"current"`
}

func nodesOf(nodes []*wirepb.NodeInfo) []nodeJSON {
	list := make([]nodeJSON, 0, len(nodes))
	for _, n := range nodes {
		list = append(list, nodeJSON{
			n.Node, n.Address, n.Zone, n.State, n.SilentMs, n.Leaders, n.Replicas,
			n.Draining, n.Leaving, n.QuarantineMs, n.Note, n.FsyncUs, n.Space, n.Load,
		})
	}
	return list
}

type replicaJSON struct {
	Node        uint64 `json:"node"`
	Reported    bool   `json:"reported"`
	Leader      bool   `json:"leader"`
	Ready       bool   `json:"ready"`
	Activated   bool   `json:"activated"`
	RaftTerm    uint64 `json:"raft_term"`
	Appointment uint64 `json:"appointment"`
	QuorumAgeMS uint32 `json:"quorum_age_ms"`
	LastTerm    uint64 `json:"last_term"`
	LastIndex   uint64 `json:"last_index"`
	Committed   uint64 `json:"committed"`
	Applied     uint64 `json:"applied"`
	Stopped     string `json:"stopped,omitempty"`
	Lost        string `json:"lost,omitempty"`
	Learner     bool   `json:"learner"`
	Blank       bool   `json:"blank"`
	Removed     bool   `json:"removed"`
	// As the group's leader says, in "group show" only.
	Progress *progressJSON `json:"progress,omitempty"`
}

type progressJSON struct {
	Match    uint64 `json:"match"`
	State    string `json:"state"`
	Active   bool   `json:"active"`
	SilentMS uint32 `json:"silent_ms"`
	Snapshot uint64 `json:"snapshot"`
}

type groupJSON struct {
	Group       uint64        `json:"group"`
	Voters      []uint64      `json:"voters"`
	HomeZone    string        `json:"home_zone"`
	Leader      uint64        `json:"leader"`
	RaftTerm    uint64        `json:"raft_term"`
	Appointment uint64        `json:"appointment"`
	Leased      bool          `json:"leased"`
	Volumes     uint32        `json:"volumes"`
	Reason      string        `json:"reason"`
	Replicas    []replicaJSON `json:"replicas,omitempty"`
	Learners    []uint64      `json:"learners"`
	Change      string        `json:"change"`
	Removed     []uint64      `json:"removed"`
	Words       []string      `json:"words"`
}

func groupsOf(groups []*wirepb.GroupInfo) []groupJSON {
	list := make([]groupJSON, 0, len(groups))
	for _, g := range groups {
		to := groupJSON{g.Group, g.Voters, g.HomeZone, g.Leader, g.RaftTerm, g.Appointment, g.Leased, g.Volumes, g.Reason, nil, listOf(g.Learners), g.Change, listOf(g.Removed), append([]string{}, g.Words...)}
		for _, r := range g.Replicas {
			s := r.GetStatus()
			var progress *progressJSON
			if p := r.GetProgress(); p != nil {
				progress = &progressJSON{p.Match, p.State, p.Active, p.SilentMs, p.Snapshot}
			}
			to.Replicas = append(to.Replicas, replicaJSON{
				Node: r.Node, Reported: s != nil, Leader: s.GetLeader(), Ready: s.GetReady(), Activated: s.GetActivated(),
				RaftTerm: s.GetRaftTerm(), Appointment: s.GetAppointment(), QuorumAgeMS: s.GetQuorumAgeMs(),
				LastTerm: s.GetLastTerm(), LastIndex: s.GetLastIndex(), Committed: s.GetCommitted(), Applied: s.GetApplied(), Stopped: s.GetStopped(), Lost: s.GetLost(),
				Learner: slices.Contains(g.Learners, r.Node), Blank: s.GetBlank(), Removed: s.GetRemoved(), Progress: progress,
			})
		}
		list = append(list, to)
	}
	return list
}

// listOf is a list that is never null.
func listOf(ids []uint64) []uint64 { return append([]uint64{}, ids...) }

type volumeJSON struct {
	Volume      uint64       `json:"volume"`
	Name        string       `json:"name"`
	Group       uint64       `json:"group"`
	Format      string       `json:"format"`
	Leader      uint64       `json:"leader"`
	Committed   pinetree.LSN `json:"committed"`
	ComputeTerm uint64       `json:"compute_term"`
}

func volumeOf(v *wirepb.VolumeInfo) volumeJSON {
	return volumeJSON{v.GetVolume(), v.GetName(), v.GetGroup(), pinetree.Format(v.GetFormat()).String(), v.GetLeader(), lsn(v.GetCommittedLsn()), v.GetComputeTerm()}
}

type leaseJSON struct {
	Group       uint64 `json:"group"`
	Node        uint64 `json:"node"`
	Appointment uint64 `json:"appointment"`
	RaftTerm    uint64 `json:"raft_term"`
	LeftMS      int64  `json:"left_ms"`
	Grants      uint64 `json:"grants"`
	Reason      string `json:"reason"`
}

func leasesOf(leases []*wirepb.LeaseInfo) []leaseJSON {
	list := make([]leaseJSON, 0, len(leases))
	for _, e := range leases {
		list = append(list, leaseJSON{e.Group, e.Node, e.Appointment, e.RaftTerm, e.LeftMs, e.Grants, e.Reason})
	}
	return list
}

type moveJSON struct {
	Group       uint64  `json:"group"`
	From        uint64  `json:"from"`
	To          uint64  `json:"to"`
	Moved       bool    `json:"moved"`
	PauseMS     float64 `json:"pause_ms"`
	Appointment uint64  `json:"appointment"`
	RaftTerm    uint64  `json:"raft_term"`
	Reason      string  `json:"reason"`
	// PredictedMS is the pause to be expected, of a dry run.
	PredictedMS float64 `json:"predicted_ms,omitempty"`
}

func moveOf(group uint64, r *wirepb.MoveLeaderResponse) moveJSON {
	return moveJSON{group, r.From, r.To, r.Moved, float64(r.PauseUs) / 1000, r.Appointment, r.RaftTerm, r.Reason, float64(r.PredictedUs) / 1000}
}

type eventJSON struct {
	ID          uint64    `json:"id"`
	Time        time.Time `json:"time"`
	Kind        string    `json:"kind"`
	Group       uint64    `json:"group,omitempty"`
	Node        uint64    `json:"node,omitempty"`
	Appointment uint64    `json:"appointment,omitempty"`
	Cause       string    `json:"cause"`
	Inputs      string    `json:"inputs,omitempty"`
	Outcome     string    `json:"outcome"`
}

func eventOf(e *wirepb.Event) eventJSON {
	return eventJSON{e.Id, time.UnixMilli(e.UnixMs).UTC(), e.Kind, e.Group, e.Node, e.Appointment, e.Cause, e.Inputs, e.Outcome}
}

package policy

import "github.com/pinetree-db/pinetree/proto/wirepb"

// Useless says why a voter's replica on a node that lives is of no use to its
// group; empty when it is. The status is what the node last said of it, nil when
// it named no such replica; reported tells that it has named those it has.
func Useless(s *wirepb.ReplicaStatus, reported bool) string {
	switch {
	case !reported || s.GetRemoved():
		return ""
	case s == nil:
		return "the node does not have it any more"
	case s.GetLost() != "":
		return s.GetLost()
	case s.GetStopped() != "":
		return "it stopped: " + s.GetStopped()
	case s.GetBlank():
		return "it has no state"
	}
	return ""
}

package members

import (
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestAVoterIsNoLearnerWhateverItsLeaderSaidBefore(t *testing.T) {
	said := &wirepb.ReplicaStatus{Learners: []uint64{2, 4}}
	if got := Learners(said, []uint64{1, 2, 3}); !slices.Equal(got, []uint64{4}) {
		t.Errorf("learners %v", got)
	}
	if got := Learners(nil, nil); len(got) != 0 {
		t.Errorf("learners %v without a leader", got)
	}
}

package logservice

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
)

func TestTheManagerHearsWhyAReplicaIsOfNoUse(t *testing.T) {
	w := replicaStatus(group.Status{Blank: true, Lost: errors.New("its disk was lost"), Stopped: fmt.Errorf("%w: %w", pinetree.ErrStopped, errors.New("a checksum"))})
	if !w.GetBlank() || w.GetLost() != "its disk was lost" || w.GetStopped() != "a checksum" {
		t.Errorf("%v", w)
	}
	if w := replicaStatus(group.Status{}); w.GetLost() != "" || w.GetStopped() != "" {
		t.Errorf("a replica that is well: %v", w)
	}
}

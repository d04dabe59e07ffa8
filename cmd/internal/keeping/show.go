package keeping

import (
	"context"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// showPatience is how long a replica may take to say what is kept.
const showPatience = 3 * time.Second

// Show asks a replica of a volume what is kept and why, for machines, or nil when none
// says, and in sentences.
func Show(ctx context.Context, managers *cli.Managers, volume string) (*Kept, []string) {
	ctx, cancel := context.WithTimeout(ctx, showPatience)
	defer cancel()
	s, err := withVolume(ctx, managers, volume, func(ctx context.Context, k keeper) (*wirepb.StateResponse, error) {
		return k.state(ctx, pinetree.ReadStale)
	})
	if err != nil {
		return nil, []string{fmt.Sprintf("· what is kept of it is not known: %v", err)}
	}
	kept := keptOf(s)
	words := []string{fmt.Sprintf("· %s of log are kept, above %s: %s", cli.Size(s.LogBytes).About(), max(pinetree.LSN(s.Base), kept.Truncated), s.KeptBecause)}
	for _, slot := range kept.Slots {
		state := "has everything up to " + slot.LSN.String()
		if slot.Lost {
			state = "is lost: more than its " + cli.Size(slot.MaxBytes).String() + " would have been held for it; its reader has to begin anew"
		}
		words = append(words, fmt.Sprintf("· slot %s %s", slot.Name, state))
	}
	return kept, words
}

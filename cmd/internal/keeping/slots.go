package keeping

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func slotList() verb {
	return verb{
		use: "ls NAME", short: "List the slots of a volume", args: cobra.ExactArgs(1),
		example: "  clustermgr volume slot ls pg",
		ask: func(ctx context.Context, _ *cobra.Command, k keeper, _ []string) (cli.Listing, error) {
			s, err := k.state(ctx, pinetree.ReadDefault)
			return slotsListing(s.GetSlots()), err
		},
	}
}

func slotsListing(slots []*wirepb.Slot) cli.Listing {
	l := cli.Listing{JSON: slotsOf(slots), Empty: "The volume has no slots.", Columns: []string{"slot", "has all up to", "holds at most", "state"}}
	for _, s := range slots {
		most, state := "no bound", "holds"
		if s.MaxBytes > 0 {
			most = cli.Size(s.MaxBytes).String()
		}
		if s.Lost {
			state = "lost: it would hold more than that"
		}
		l.Rows = append(l.Rows, []any{s.Name, pinetree.LSN(s.Lsn), most, state})
	}
	return l
}

func slotPut() verb {
	var at string
	var most cli.Size
	return verb{
		use: "put NAME SLOT", short: "Make a slot, or move one forward", args: cobra.ExactArgs(2),
		long: `Make a slot, or move one forward: the log above its LSN is kept, until its reader has
moved it on. Without --lsn a new slot holds all that there is.

Above --max-bytes the slot is lost and holds nothing any more; its reader has to begin
anew. Without a bound a reader that is gone for good keeps the log for ever.`,
		example: "  clustermgr volume slot put pg backup --max-bytes 10GiB\n  clustermgr volume slot put pg backup --lsn 0/16B3740 --max-bytes 10GiB",
		flags: func(c *cobra.Command) {
			c.Flags().StringVar(&at, "lsn", "", "the reader has everything up to here")
			c.Flags().Var(&most, "max-bytes", "how much log is held for it at most, such as 10GiB")
		},
		ask: func(ctx context.Context, _ *cobra.Command, k keeper, args []string) (cli.Listing, error) {
			slot := &wirepb.Slot{Name: args[1], MaxBytes: uint64(most)}
			if at != "" {
				lsn, err := pinetree.ParseLSN(at)
				if err != nil {
					return cli.Listing{}, cli.Usagef("--lsn: %w", err)
				}
				slot.Lsn = uint64(lsn)
			}
			var r *wirepb.PutSlotResponse
			err := k.order(ctx, fmt.Sprintf("slot %s", args[1]), func(ctx context.Context, v wirepb.VolumesClient) (err error) {
				r, err = v.PutSlot(ctx, &wirepb.PutSlotRequest{Volume: k.volume, Slot: slot})
				return err
			})
			if err != nil {
				return cli.Listing{}, err
			}
			return slotsListing([]*wirepb.Slot{r.Slot}), nil
		},
	}
}

func slotDrop() verb {
	return verb{
		use: "drop NAME SLOT", short: "Remove a slot, so that nothing is kept for it", args: cobra.ExactArgs(2),
		example: "  clustermgr volume slot drop pg backup",
		ask: func(ctx context.Context, _ *cobra.Command, k keeper, args []string) (cli.Listing, error) {
			err := k.order(ctx, fmt.Sprintf("slot %s", args[1]), func(ctx context.Context, v wirepb.VolumesClient) error {
				_, err := v.DropSlot(ctx, &wirepb.DropSlotRequest{Volume: k.volume, Name: args[1]})
				return err
			})
			if err != nil {
				return cli.Listing{}, err
			}
			s, err := k.state(ctx, pinetree.ReadDefault)
			return slotsListing(s.GetSlots()), err
		},
	}
}

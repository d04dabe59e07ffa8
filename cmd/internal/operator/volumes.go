package operator

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func volumeCommand() *cobra.Command {
	return family("volume", "Volumes: one database's redo log and the state replayed from it", volumeCreate(), volumeList())
}

// ParseFormat reads the name of a payload format.
func ParseFormat(name string) (pinetree.Format, error) {
	for _, f := range []pinetree.Format{pinetree.FormatOpaque, pinetree.FormatRedo} {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, cli.Usagef("--format %q: formats are opaque (PostgreSQL WAL and the like) and redo (pages and keys)", name)
}

func volumeCreate() *cobra.Command {
	var format string
	var group uint64
	var replicas uint32
	return listing{
		use: "create NAME", short: "Make a volume, in a group of its own unless told otherwise", args: cobra.ExactArgs(1),
		flags: func(c *cobra.Command) {
			c.Flags().StringVar(&format, "format", "opaque", "how payloads are read: opaque or redo")
			c.Flags().Uint64Var(&group, "group", 0, "an existing group that is to carry it")
			c.Flags().Uint32Var(&replicas, "replicas", 3, "how many replicas the group of its own has")
		},
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			f, err := ParseFormat(format)
			if err != nil {
				return cli.Listing{}, err
			}
			v, err := m.CreateVolume(ctx, &wirepb.CreateVolumeRequest{Name: args[0], Format: uint32(f), Group: group, Replicas: replicas})
			if err != nil {
				return cli.Listing{}, err
			}
			return volumesListing([]*wirepb.VolumeInfo{v}), nil
		},
	}.command()
}

func volumeList() *cobra.Command {
	return listing{
		use: "ls", short: "List the volumes and how far they are",
		ask: func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			r, err := m.ListVolumes(ctx, &wirepb.ListVolumesRequest{})
			return volumesListing(r.GetVolumes()), err
		},
	}.command()
}

func volumesListing(volumes []*wirepb.VolumeInfo) cli.Listing {
	list := make([]volumeJSON, 0, len(volumes))
	l := cli.Listing{
		Empty:   "There is no volume yet; make one with `clustermgr volume create NAME`.",
		Columns: []string{"volume", "name", "group", "format", "leader", "committed", "compute term"},
	}
	for _, v := range volumes {
		list = append(list, volumeOf(v))
		l.Rows = append(l.Rows, []any{v.Volume, v.Name, v.Group, pinetree.Format(v.Format), orDash(v.Leader), lsn(v.CommittedLsn), v.ComputeTerm})
	}
	l.JSON = list
	return l
}

func eventsCommand() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	var follow bool
	var limit uint32
	c := &cobra.Command{Use: "events", Short: "Show what the cluster manager decided, and why"}
	c.Flags().BoolVar(&follow, "follow", false, "go on as decisions are made, until interrupted")
	c.Flags().Uint32Var(&limit, "limit", 100, "how many of the newest ones")
	managers.Flag(c)
	output.Flag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		var after uint64
		for {
			var events []*wirepb.Event
			err := managers.Call(cmd.Context(), func(ctx context.Context, m wirepb.ManagerClient) error {
				r, err := m.ListEvents(ctx, &wirepb.ListEventsRequest{After: after, Limit: limit})
				events = r.GetEvents()
				return err
			})
			if err != nil {
				return err
			}
			if len(events) > 0 || after == 0 {
				if err := output.Print(cmd.OutOrStdout(), eventsListing(events)); err != nil {
					return err
				}
			}
			for _, e := range events {
				after = max(after, e.Id)
			}
			if !follow {
				return nil
			}
			select {
			case <-cmd.Context().Done():
				return nil
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
	return c
}

func eventsListing(events []*wirepb.Event) cli.Listing {
	list := make([]eventJSON, 0, len(events))
	l := cli.Listing{Empty: "Nothing was decided yet.", Columns: []string{"id", "time", "what", "group", "node", "appointment", "cause", "outcome"}}
	for _, e := range events {
		list = append(list, eventOf(e))
		l.Rows = append(l.Rows, []any{e.Id, time.UnixMilli(e.UnixMs).Format("15:04:05.000"), e.Kind, orDash(e.Group), orDash(e.Node), orDash(e.Appointment), e.Cause, e.Outcome})
	}
	l.JSON = list
	return l
}

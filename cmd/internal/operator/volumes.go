package operator

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/keeping"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// completeVolume completes a command whose argument is a volume.
func completeVolume(c *cobra.Command, managers *cli.Managers) {
	c.ValidArgsFunction = completeArgs(managers, []completer{someVolumes})
	completeFlags(c, managers)
}

func volumeCommand() *cobra.Command {
	return family("volume", "Volumes: one database's redo log and the state replayed from it", append(keeping.Verbs(completeVolume), volumeCreate(), volumeList(), volumeShow(), volumeDelete())...)
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
		long: `Make a volume, in a group of its own unless --group names one. The same order
again is no error, and says what there is.`,
		example: "  clustermgr volume create pg --format opaque\n  clustermgr volume create notes --format redo --group 7",
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
		use: "ls", short: "List the volumes and how far they are", watch: true,
		example: "  clustermgr volume ls\n  clustermgr volume ls -o json",
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

func volumeShow() *cobra.Command {
	return listing{
		use: "show NAME", short: "Show a volume, its group, and how far each replica has replayed it", args: cobra.ExactArgs(1), complete: []completer{someVolumes}, watch: true,
		example: "  clustermgr volume show pg",
		more:    showKept,
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			r, err := m.Route(ctx, &wirepb.RouteRequest{VolumeName: args[0]})
			if err != nil {
				return cli.Listing{}, err
			}
			g, err := findGroup(ctx, m, r.GetVolume().GetGroup())
			if err != nil {
				return cli.Listing{}, err
			}
			l := routeListing(r)
			l.JSON = volumeShowJSON{l.JSON.(routeJSON), wordsOf(g), nil}
			v := r.Volume
			l.Below = append(l.Below, fmt.Sprintf("· volume %d, %s, in group %d: committed up to %s in compute term %d", v.Volume, pinetree.Format(v.Format), v.Group, lsn(v.CommittedLsn), v.ComputeTerm))
			for _, sentence := range wordsOf(g) {
				l.Below = append(l.Below, "· "+sentence)
			}
			return l, nil
		},
	}.command()
}

// showKept adds what a replica says of what is kept, and why.
func showKept(ctx context.Context, managers *cli.Managers, args []string, l *cli.Listing) {
	kept, words := keeping.Show(ctx, managers, args[0])
	show := l.JSON.(volumeShowJSON)
	show.Kept = kept
	l.JSON, l.Below = show, append(l.Below, words...)
}

func volumeDelete() *cobra.Command {
	return listing{
		use: "delete NAME", short: "Remove a volume and all that it holds, for good", args: cobra.ExactArgs(1), complete: []completer{someVolumes},
		long: `Remove a volume and all that it holds, for good, with its group when it has that for
itself. Where other volumes share the group, every replica takes the volume out of its
engine, and the others go on.

The order is recorded and carried out as soon as the group has a leader and the nodes
are heard of; space comes back in the engine's own time.
The name can be used again at once, for another volume.`,
		example: "  clustermgr volume delete scratch\n  clustermgr volume delete scratch --yes",
		loss: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Loss, error) {
			r, err := m.Route(ctx, &wirepb.RouteRequest{VolumeName: args[0]})
			if err != nil {
				return cli.Loss{}, err
			}
			return cli.Loss{What: fmt.Sprintf("Volume %s in group %d has a log up to %s; it is removed for good, on all nodes.", args[0], r.Volume.Group, lsn(r.Volume.CommittedLsn)),
				Name: args[0]}, nil
		},
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			r, err := m.DeleteVolume(ctx, &wirepb.DeleteVolumeRequest{Name: args[0]})
			if err != nil {
				return cli.Listing{}, err
			}
			return cli.Listing{
				JSON:    deletedVolumeJSON{r.Volume, args[0], r.Group},
				Columns: []string{"volume", "name", "state", "group that went with it"},
				Rows:    [][]any{{r.Volume, args[0], "deleted", orDash(r.Group)}},
			}, nil
		},
	}.command()
}

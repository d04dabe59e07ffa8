package dump

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

func (d *dump) print(cmd *cobra.Command, output *cli.Output) error {
	out := cmd.OutOrStdout()
	if output.JSON() {
		return cli.PrintJSON(out, d)
	}
	if d.Identity != nil {
		if _, err := fmt.Fprintf(out, "node %d of cluster %s, instance %s\n", d.Identity.Node, d.Identity.Cluster, d.Identity.Instance); err != nil {
			return err
		}
	}
	if d.Frames != nil {
		if err := output.Print(out, framesListing(d.Frames)); err != nil {
			return err
		}
	}
	if d.Groups == nil {
		return nil
	}
	for _, l := range groupListings(d.Groups) {
		if err := output.Print(out, l); err != nil {
			return err
		}
	}
	return nil
}

// groupListings are the groups with their volumes, and what there is of metadata.
func groupListings(groups []groupDump) []cli.Listing {
	all := cli.Listing{
		Columns: []string{"group", "raft index", "raft term", "volume", "format", "base", "truncated", "replayed up to", "compute term", "metadata"},
		Empty:   "No group.",
	}
	keys := cli.Listing{Columns: []string{"group", "volume", "key", "value", "created", "modified", "version"}}
	history := cli.Listing{Columns: []string{"group", "volume", "revision", "key", "value"}}
	for _, g := range groups {
		if len(g.Volumes) == 0 {
			all.Rows = append(all.Rows, []any{g.Group, g.Index, g.Term, "–", "", "", "", "", "", ""})
		}
		for _, v := range g.Volumes {
			all.Rows = append(all.Rows, []any{g.Group, g.Index, g.Term, v.Volume, v.Format, v.Base, v.Truncated, v.LSN, v.Term, v.Metadata.String()})
			for _, k := range v.Metadata.Keys {
				keys.Rows = append(keys.Rows, []any{g.Group, v.Volume, cli.Shown(k.item.Key), cli.Shown(k.item.Value), k.Created, k.Modified, k.Version})
			}
			for _, c := range v.Metadata.History {
				value := cli.Shown(c.item.Value)
				if c.Deleted {
					value = "– deleted"
				}
				history.Rows = append(history.Rows, []any{g.Group, v.Volume, c.Modified, cli.Shown(c.item.Key), value})
			}
		}
	}
	listings := []cli.Listing{all}
	for _, l := range []cli.Listing{keys, history} {
		if len(l.Rows) > 0 {
			listings = append(listings, l)
		}
	}
	return listings
}

func framesListing(frames []segment.FrameInfo) cli.Listing {
	l := cli.Listing{Columns: []string{"segment", "offset", "bytes", "kind", "group", "entries", "raft terms", "hard state", "start"}, Empty: "No frames."}
	for i := 0; i < len(frames); i++ {
		f, kind := frames[i], frames[i].Kind
		// An idle log is full of probes: a run of them is one row.
		for n := 2; f.Kind == "probe" && i+1 < len(frames) && frames[i+1].Kind == "probe"; n++ {
			i, kind = i+1, fmt.Sprintf("probe × %d", n)
		}
		row := []any{filepath.Base(f.File), f.Offset, f.Bytes, kind, f.Group, "", "", "", ""}
		if f.Last != 0 {
			row[5], row[6] = fmt.Sprintf("%d–%d", f.First, f.Last), fmt.Sprintf("%d–%d", f.FirstTerm, f.LastTerm)
		}
		if f.HardState != nil {
			row[7] = fmt.Sprintf("term %d, vote %d, commit %d", f.HardState.Term, f.HardState.Vote, f.HardState.Commit)
		}
		if f.Start != nil {
			row[8] = fmt.Sprintf("%d/%d", f.Start.Term, f.Start.Index)
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/framed"
	"github.com/pinetree-db/pinetree/cmd/internal/operator"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// shipFlags are the settings of ship.
type shipFlags struct {
	volumeFlags
	progress bool
	create   bool
	compress bool
	format   string
	output   cli.Output
}

func shipCommand() *cobra.Command {
	var f shipFlags
	c := &cobra.Command{
		Use: "ship FILE|DIR|-...", Short: "Ship a log into a volume", Args: cobra.MinimumNArgs(1),
		Long: `Ship PostgreSQL's WAL segments, files or folders of them, or framed records from
standard input, into a volume. It opens a new compute term, which fences the volume's
writer before it, goes on where the volume's log is durable, and returns when all of
the input is durable on a majority of replicas.

Every WAL record is checked before it is shipped. At a damaged or missing part it
stops with its segment and LSN, after everything before it is durable.

` + framed.Help,
	}
	f.flag(c)
	f.output.Flag(c)
	c.Flags().BoolVar(&f.progress, "progress", false, "show how far it is")
	c.Flags().BoolVar(&f.create, "create", false, "make the volume when there is none of that name")
	c.Flags().BoolVar(&f.compress, "compress", true, "compress what becomes smaller by it; not while nodes and readers of earlier versions run")
	c.Flags().StringVar(&f.format, "format", "opaque", "with --create: how payloads are read, opaque or redo")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			for _, path := range args {
				if path == "-" {
					return cli.Usagef("standard input (-) goes alone")
				}
			}
		}
		if err := f.output.Check(); err != nil {
			return err
		}
		return f.run(cmd, args)
	}
	return c
}

// shipped is what ship did. Scripts depend on its JSON.
type shipped struct {
	Volume      string               `json:"volume"`
	ComputeTerm pinetree.ComputeTerm `json:"compute_term"`
	ResumedAt   pinetree.LSN         `json:"resumed_at"`
	Durable     pinetree.LSN         `json:"durable"`
	Records     int64                `json:"records"` // shipped by this call
	Bytes       int64                `json:"bytes"`   // of their payloads
	Seconds     float64              `json:"seconds"`
	Resumes     uint64               `json:"resumes"` // how often shipping began anew
	WAL         *pgwal.Counts        `json:"wal,omitempty"`
	Damage      string               `json:"damage,omitempty"`
}

func (f *shipFlags) run(cmd *cobra.Command, args []string) error {
	if err := cli.Required(cmd, "volume", "manager"); err != nil {
		return err
	}
	if f.create {
		if err := f.makeVolume(cmd.Context()); err != nil {
			return err
		}
	}
	// Where a PostgreSQL log begins is known before the volume is touched.
	in, err := openInput(cmd.InOrStdin(), args)
	if err != nil {
		return err
	}
	defer in.close()
	client, err := f.dial(cmd)
	if err != nil {
		return err
	}
	defer client.Close()
	began := time.Now()
	w, err := client.OpenWriter(cmd.Context(), ship.WriterConfig{Base: in.base(), Compress: f.compress})
	if err != nil {
		return err
	}
	done := shipped{Volume: f.volume, ComputeTerm: w.Term(), ResumedAt: w.Durable()}
	err = in.resume(w.Durable(), w.Base())
	var damaged error
	if err == nil {
		damaged, err = f.feed(cmd.Context(), in, w, &done)
	}
	done.Durable, done.Resumes, done.Seconds, done.WAL = w.Durable(), w.Progress().Resumes, time.Since(began).Seconds(), in.counts()
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if damaged != nil {
		done.Damage = damaged.Error()
		damaged = fmt.Errorf("%w; everything before it is durable, up to %s", damaged, done.Durable)
	}
	if err == nil {
		err = f.output.Print(cmd.OutOrStdout(), done.listing())
	}
	return errors.Join(err, damaged)
}

// feed ships the input. Damaged is what is wrong with the input, after all
// before it is durable.
func (f *shipFlags) feed(ctx context.Context, in input, w *ship.Writer, done *shipped) (damaged, err error) {
	var meter *cli.Meter
	if f.progress {
		meter = cli.NewMeter(cli.Target{What: "ship " + f.volume, Bytes: in.bytes()})
		defer func() { meter.Done(done.Bytes, err) }()
	}
	for {
		r, readErr := in.next()
		if readErr == nil {
			if err := w.Append(ctx, r); err != nil {
				return nil, err
			}
			done.Records++
			done.Bytes += int64(len(r.Payload))
			if meter != nil {
				meter.At(done.Bytes)
			}
			continue
		}
		if err := w.Flush(ctx); err != nil {
			return nil, err
		}
		if errors.Is(readErr, io.EOF) {
			return nil, nil
		}
		return readErr, nil
	}
}

func (s shipped) listing() cli.Listing {
	l := cli.Listing{
		JSON:    s,
		Columns: []string{"volume", "compute term", "from", "durable", "records", "bytes", "MB/s"},
		Rows: [][]any{{s.Volume, s.ComputeTerm, s.ResumedAt, s.Durable, s.Records, s.Bytes,
			fmt.Sprintf("%.1f", float64(s.Bytes)/1e6/max(s.Seconds, 1e-3))}},
	}
	if c := s.WAL; c != nil && int64(c.Records) != s.Records {
		l.Rows = append(l.Rows, []any{"", "", "", "", "of these", cli.ExplainWAL(*c), ""})
	}
	return l
}

// makeVolume makes the volume unless it is there.
func (f *shipFlags) makeVolume(ctx context.Context) error {
	format, err := operator.ParseFormat(f.format)
	if err != nil {
		return err
	}
	return f.managers.Call(ctx, func(ctx context.Context, m wirepb.ManagerClient) error {
		_, err := m.CreateVolume(ctx, &wirepb.CreateVolumeRequest{Name: f.volume, Format: uint32(format)})
		if errors.Is(err, pinetree.ErrExists) {
			return nil
		}
		return err
	})
}

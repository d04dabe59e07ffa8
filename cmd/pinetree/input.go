package main

import (
	"fmt"
	"io"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/cmd/internal/framed"
)

// input is a log to be shipped.
type input interface {
	// base is where the log begins.
	base() pinetree.LSN
	// resume goes on after the LSN that is durable in a volume with that base.
	resume(durable, base pinetree.LSN) error
	// next returns the next record, or io.EOF.
	next() (pinetree.Record, error)
	// bytes is how much there is to ship, zero when that is not known.
	bytes() int64
	// counts tells of what was read, for PostgreSQL's log.
	counts() *pgwal.Counts
	close()
}

func openInput(stdin io.Reader, args []string) (input, error) {
	if args[0] == "-" {
		return &framedInput{frames: framed.NewReader(stdin)}, nil
	}
	source := pgwal.Paths(args...)
	w, err := pgwal.Open(source, 0)
	if err != nil {
		return nil, err
	}
	return &walInput{source: source, walker: w, begins: w.Base()}, nil
}

// walInput is PostgreSQL's log.
type walInput struct {
	source pgwal.Source
	walker *pgwal.Walker
	begins pinetree.LSN
}

func (w *walInput) base() pinetree.LSN             { return w.begins }
func (w *walInput) next() (pinetree.Record, error) { return w.walker.Next() }
func (w *walInput) bytes() int64                   { return w.walker.Bytes() }
func (w *walInput) close()                         { _ = w.walker.Close() } // it was only read

func (w *walInput) counts() *pgwal.Counts {
	c := w.walker.Counts()
	return &c
}

func (w *walInput) resume(durable, base pinetree.LSN) error {
	if durable == w.begins {
		return nil
	}
	if durable < w.begins {
		return fmt.Errorf("%w: the volume's log ends at %s, and the first segment begins at %s; add the segments between", pinetree.ErrBadBatch, durable, w.begins)
	}
	again, err := pgwal.Open(w.source, durable)
	if err != nil {
		return err
	}
	w.close()
	w.walker = again
	return nil
}

// framedInput is framed records from a stream.
type framedInput struct{ frames *framed.Reader }

func (f *framedInput) base() pinetree.LSN                   { return 0 }
func (f *framedInput) next() (pinetree.Record, error)       { return f.frames.Next() }
func (f *framedInput) bytes() int64                         { return 0 }
func (f *framedInput) counts() *pgwal.Counts                { return nil }
func (f *framedInput) resume(durable, _ pinetree.LSN) error { return f.frames.Skip(durable) }
func (f *framedInput) close()                               {}

// Package framed reads records that come one after the other, each behind its
// length, as another program writes them into a pipe. It knows no commands.
package framed

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Help says what framed records are, for the help of commands.
const Help = `Framed records are, one after the other: the payload's length as an unsigned
varint (as Protocol Buffers and Go's encoding/binary write it), then the payload. The
LSN of a record is the offset in the input at which its frame ends, so the same input
can be shipped again and goes on where it stopped.`

// maxFrameBytes bounds a payload, so that its record fits in a batch.
const maxFrameBytes = storepb.MaxBatchBytes / 2

// Reader reads framed records. It is used by one goroutine.
type Reader struct {
	in *bufio.Reader
	at pinetree.LSN // end of the last frame
}

// NewReader reads from the beginning of an input.
func NewReader(in io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(in, 1<<20)} }

// Next returns the next record, or io.EOF after the last one. What is cut off
// or too long is a *pinetree.CorruptError that names the offset.
func (f *Reader) Next() (pinetree.Record, error) {
	head, err := f.in.Peek(binary.MaxVarintLen64)
	if len(head) == 0 {
		return pinetree.Record{}, err
	}
	length, n := binary.Uvarint(head)
	switch {
	case n == 0 && len(head) < binary.MaxVarintLen64 && !errors.Is(err, io.EOF):
		return pinetree.Record{}, f.damage("the length: " + err.Error())
	case n == 0 && len(head) < binary.MaxVarintLen64:
		return pinetree.Record{}, f.damage("the input ends in a length")
	case n <= 0 || length > maxFrameBytes:
		return pinetree.Record{}, f.damage(fmt.Sprintf("a payload is longer than %d bytes, which is the limit", maxFrameBytes))
	}
	if _, err := f.in.Discard(n); err != nil {
		return pinetree.Record{}, err
	}
	payload := make([]byte, length)
	if n, err := io.ReadFull(f.in, payload); err != nil {
		return pinetree.Record{}, f.damage(fmt.Sprintf("a payload of %d bytes, of which %d are there", length, n))
	}
	r := pinetree.Record{Prev: f.at, LSN: f.at + pinetree.LSN(n) + pinetree.LSN(length), Payload: payload}
	f.at = r.LSN
	return r, nil
}

// Skip reads up to the frame that ends at an LSN. An input in which none does is
// pinetree.ErrBadBatch.
func (f *Reader) Skip(to pinetree.LSN) error {
	for f.at < to {
		if _, err := f.Next(); errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: the volume's log is durable up to %s, but this input ends at %s: it is not what was shipped before", pinetree.ErrBadBatch, to, f.at)
		} else if err != nil {
			return err
		}
	}
	if f.at != to {
		return fmt.Errorf("%w: the volume's log is durable up to %s, where no frame of this input ends: it is not what was shipped before", pinetree.ErrBadBatch, to)
	}
	return nil
}

func (f *Reader) damage(what string) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("framed records: the frame after %s (offset %d)", f.at, uint64(f.at)), What: what}
}

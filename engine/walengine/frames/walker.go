package frames

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Frame is a frame in a file whose header is good.
type Frame struct {
	Header
	At Offset
}

// End is where the next frame begins.
func (f Frame) End() Offset { return f.At + Offset(f.Size()) }

// Walker reads the frames of one file, or of a run of bytes that has frames
// only. What it finds wrong it tells in words, so that recovery can weigh it;
// errors are those of reading.
type Walker struct {
	files.Window
	Bound pinetree.GroupID
	Base  Offset // of the first frame
	Skip  int64  // bytes of the file before the first frame
}

// Physical is where in the file an offset of the log is.
func (w *Walker) Physical(at Offset) int64 { return w.Skip + int64(at-w.Base) }

// Frame reads the header of the frame at an offset, and finds out whether all
// of the frame is before the limit.
func (w *Walker) Frame(at Offset) (f Frame, wrong string, err error) {
	data, err := w.Bytes(w.Physical(at), HeaderBytes)
	if err != nil {
		return f, "", err
	}
	f.At = at
	if f.Header, wrong = ReadHeader(data, Place{w.Bound, at}); wrong != "" {
		return f, wrong, nil
	}
	if there := w.Limit - w.Physical(at); f.Size() > there {
		return f, fmt.Sprintf("%s frame of %d bytes, %d are in the file", kindNames[f.Kind], f.Size(), there), nil
	}
	return f, "", nil
}

// Position reads the position in a frame's head, and the records of metadata beside
// it.
func (w *Walker) Position(f Frame) (p pinetree.Position, records [][]byte, wrong string, err error) {
	data, err := w.Bytes(w.Physical(f.At)+HeaderBytes, f.Head)
	if err != nil {
		return p, nil, "", err
	}
	if len(data) < f.Head {
		return p, nil, "the file ends in a frame's position", nil
	}
	if got := crc32.Checksum(data[:f.Head], storepb.Castagnoli); got != f.headSum {
		return p, nil, fmt.Sprintf("CRC32C of the frame's position is %08x, should be %08x", got, f.headSum), nil
	}
	if p, records, err = storepb.DecodeState(bytes.Clone(data[:f.Head])); err != nil {
		return p, nil, err.Error(), nil
	}
	return p, records, "", nil
}

// Batches calls fn with the header of each batch in a frame, in order, and with
// a function that reads the batch and checks its checksum. An error that is not
// of reading is fn's own.
func (w *Walker) Batches(f Frame, fn func(b pinetree.Batch, open func() (pinetree.Batch, error)) error) (wrong string, err error) {
	from := w.Physical(f.At) + HeaderBytes + int64(f.Head)
	end := from + int64(f.Body)
	for i := range f.Batches {
		data, err := w.Bytes(from, storepb.BatchHeaderBytes)
		if err != nil {
			return "", err
		}
		b, size, err := storepb.PeekHeader(data)
		if err != nil {
			return err.Error(), nil
		}
		if int64(size) > end-from {
			return fmt.Sprintf("batch %d of %d goes beyond its frame", i+1, f.Batches), nil
		}
		err = fn(b, func() (pinetree.Batch, error) {
			data, err := w.Bytes(from, size)
			if err != nil {
				return b, err
			}
			whole, _, err := storepb.DecodeBatch(data[:min(size, len(data))])
			return whole, err
		})
		if err != nil {
			return "", err
		}
		from += int64(size)
	}
	if from != end {
		return fmt.Sprintf("its %d batches take %d bytes less than they should", f.Batches, end-from), nil
	}
	return "", nil
}

// Check reads all of a frame and checks every checksum. It returns the headers
// of the batches, in headers' memory.
func (w *Walker) Check(f Frame, headers []pinetree.Batch) (read []pinetree.Batch, wrong string, err error) {
	wrong, err = w.Batches(f, func(b pinetree.Batch, open func() (pinetree.Batch, error)) error {
		if _, err := open(); err != nil {
			return err
		}
		headers = append(headers, b)
		return nil
	})
	if errors.Is(err, pinetree.ErrCorrupt) {
		return headers, err.Error(), nil
	}
	if err != nil || wrong != "" {
		return headers, wrong, err
	}
	want := f.Tail()
	data, err := w.Bytes(w.Physical(f.End())-int64(len(want)), len(want))
	if err != nil {
		return headers, "", err
	}
	if !bytes.HasPrefix(data, want) {
		return headers, "the frame has no end mark", nil
	}
	return headers, "", nil
}

// Copy writes the bytes of a frame.
func (w *Walker) Copy(f Frame, out io.Writer) error {
	for from, end := w.Physical(f.At), w.Physical(f.End()); from < end; {
		data, err := w.Bytes(from, 1)
		if err != nil {
			return err
		}
		if len(data) == 0 {
			return fmt.Errorf("the file ends at %d, in a frame that ends at %d", from, end)
		}
		data = data[:min(int64(len(data)), end-from)]
		if _, err := out.Write(data); err != nil {
			return err
		}
		from += int64(len(data))
	}
	return nil
}

package files

import (
	"errors"
	"io"
)

// windowBytes is how much of a file is read at once.
const windowBytes = 256 << 10

// Window reads a file from front to back, in pieces, up to a limit. It is used
// by one goroutine.
type Window struct {
	File  io.ReaderAt
	Limit int64  // nothing from here on is read
	Buf   []byte // memory to use; what has been read
	start int64  // where in the file Buf begins
}

// Bytes returns at least n bytes of the file from a place on, or as many as
// there are before the limit. They are the caller's until the next call.
func (w *Window) Bytes(from int64, n int) ([]byte, error) {
	if from >= w.Limit {
		return nil, nil
	}
	n = int(min(int64(n), w.Limit-from))
	if skip := from - w.start; skip >= 0 && skip+int64(n) <= int64(len(w.Buf)) {
		return w.Buf[skip:], nil
	}
	want := int(min(int64(max(n, windowBytes)), w.Limit-from))
	if cap(w.Buf) < want {
		w.Buf = make([]byte, want)
	}
	w.start, w.Buf = from, w.Buf[:want]
	read, err := w.File.ReadAt(w.Buf, from)
	w.Buf = w.Buf[:read]
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return w.Buf, nil
}

package walengine

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

// judge refuses an end of the log that no crash leaves. The rules are in the
// package comment.
func (r *recovery) judge() error {
	if r.stop == nil {
		return nil
	}
	end, f := r.log.end, r.found[r.stop.file]
	at := max(end, f.base)
	refuse := func(proof string) error {
		return f.corrupt(at, fmt.Sprintf("%s; no crash leaves this: %s", r.stop.wrong, proof))
	}
	if r.synced > end {
		return refuse(fmt.Sprintf("other frames say that the log was synced up to offset %d", r.synced))
	}
	for i := r.stop.file; i < len(r.found); i++ {
		proof, err := r.found[i].proof(end)
		if err != nil {
			return err
		}
		if proof != "" {
			return refuse(proof)
		}
	}
	if end < f.base {
		return nil // the file is whole, those before it are missing
	}
	return f.walk(func(w *frames.Walker) error {
		if end == f.base {
			header, err := w.Bytes(0, frames.FileHeaderBytes)
			if err != nil {
				return err
			}
			if frames.HeaderTorn(header) {
				return nil
			}
			if wrong := f.life.file(f.base).Check(header); wrong != "" {
				return refuse("its header is whole, and wrong")
			}
		}
		rest, err := w.Bytes(w.Physical(end), int(w.Limit))
		if err != nil {
			return err
		}
		if !frames.Torn(rest, f.place(end), w.Physical(end)) {
			return refuse("all of the frame was written, and it is wrong")
		}
		return nil
	})
}

// proof looks for a frame in the file, behind an offset of the log, that says
// that more than that was synced.
func (f *foundFile) proof(end frames.Offset) (proof string, err error) {
	err = f.walk(func(w *frames.Walker) error {
		limit := w.Limit
		if !f.last {
			limit = min(limit, w.Physical(f.next))
		}
		for at := max(end, f.base); w.Physical(at)+frames.HeaderBytes <= limit; at += frames.Align {
			data, err := w.Bytes(w.Physical(at), frames.HeaderBytes)
			if err != nil {
				return err
			}
			if data[31] == 0 {
				continue
			}
			if h, wrong := frames.ReadHeader(data, f.place(at)); wrong == "" && h.Synced > end {
				proof = fmt.Sprintf("the frame at %s offset %d was written when the log was synced up to offset %d", f.Name(), w.Physical(at), h.Synced)
				return nil
			}
		}
		return nil
	})
	return proof, err
}

// mend removes what cannot be read, makes what survived surely durable, and
// lets the log go on in a new file if bytes that are not its own are behind its
// end.
func (r *recovery) mend() error {
	l := r.log
	for _, f := range r.found[:r.first] {
		if err := f.Drop(); err != nil {
			return err
		}
	}
	if r.stop != nil {
		if err := r.cut(); err != nil {
			return err
		}
	}
	if r.synced < l.end {
		if err := r.rewrite(); err != nil {
			return err
		}
	}
	if len(l.files) > 0 {
		l.synced = r.synced
	}
	if !r.solid {
		l.unnamed = true
		if err := l.sync(); err != nil {
			return err
		}
	} // else there are marks, which the next Flush syncs
	l.flushed, l.unsynced = l.position, false
	if len(l.files) == 0 {
		return nil
	}
	active := r.found[slices.IndexFunc(r.found, func(f *foundFile) bool { return f.logFile == l.active() })]
	if active.size == frames.FileHeaderBytes+int64(l.end-active.base) {
		return nil
	}
	if err := l.checkpoint(l.position); err != nil {
		return err
	}
	return l.sync()
}

// cut removes the files behind the end of the log.
func (r *recovery) cut() error {
	l := r.log
	for _, f := range slices.Backward(r.found) {
		if slices.Contains(l.files, f.logFile) {
			break
		}
		if err := f.Drop(); err != nil {
			return err
		}
	}
	return l.set.SyncDir()
}

// rewrite writes again what no frame proves to be synced: after a failed sync
// only the page cache may have it.
func (r *recovery) rewrite() error {
	l := r.log
	for i := len(l.files) - 1; i >= 0; i-- {
		f := l.files[i]
		from, end := int64(0), l.end
		if f.base < r.synced {
			from = frames.FileHeaderBytes + int64(r.synced-f.base)
		}
		if i+1 < len(l.files) {
			end = l.files[i+1].base
		}
		if err := f.rewrite([2]int64{from, frames.FileHeaderBytes + int64(end-f.base)}); err != nil {
			return err
		}
		if f.base <= r.synced {
			break
		}
	}
	return nil
}

// rewrite writes a part of the file, from one place to another, again as it is.
func (f *logFile) rewrite(part [2]int64) error {
	from, to := part[0], part[1]
	handle, err := f.Open()
	if err != nil {
		return err
	}
	defer f.Done(true)
	w := files.Window{File: handle, Limit: to}
	for from < to {
		data, err := w.Bytes(from, 1)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		if err := handle.WriteParts([][]byte{data}, from); err != nil {
			return fmt.Errorf("write %s: %w", f.Name(), err)
		}
		from += int64(len(data))
	}
	return nil
}

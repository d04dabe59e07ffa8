package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// DigestResult sums up a volume as of an LSN. Two replicas that have replayed
// the same log up to At, and have truncated it at the same place, have equal
// results, whatever their backends and however the log was batched.
type DigestResult struct {
	At      pinetree.LSN // the state that was read
	Records int64
	Bytes   int64 // of the records' payloads
	Sum     [sha256.Size]byte
}

// digestRange is how many keys are asked for at once.
const digestRange = 1024

// Digest reads a whole volume as of an LSN, which means what it means to a
// Reader: zero or above the applied LSN is the newest. The sum is SHA-256 over
// each record's prev, LSN and payload and, in a redo volume, every page that
// the log touched and every key, with the LSNs of their last changes. It reads
// everything there is, so it is for tests and for an operator who compares
// replicas; a part of the log that was truncated adds only its pages' and
// keys' newest state, as far as the rest of the log touches them.
//
// Errors are those of the Reader. While the log is truncated beyond At, it
// fails with a *pinetree.TruncatedError: ask again with a newer LSN.
func Digest(r Reader, at pinetree.LSN) (DigestResult, error) {
	position := r.Position()
	if at == 0 || at > position.LSN {
		at = position.LSN
	}
	if at < position.Truncated {
		_, err := r.Range(RangeSpec{At: at})
		return DigestResult{At: at}, err
	}
	d := digester{result: DigestResult{At: at}, first: position.First(), sum: sha256.New(), pages: map[pinetree.PageNo]bool{}, redo: position.Format == pinetree.FormatRedo}
	err := r.Log(d.first, d.batch)
	if err != nil && !errors.Is(err, errDigestDone) {
		return DigestResult{}, err
	}
	if d.redo {
		if err := d.state(r); err != nil {
			return DigestResult{}, err
		}
	}
	d.sum.Sum(d.result.Sum[:0])
	return d.result, nil
}

var errDigestDone = errors.New("the rest of the log is above the LSN of the digest")

// digester is one run of Digest.
type digester struct {
	result DigestResult
	first  pinetree.LSN // above which records count
	sum    hash.Hash
	pages  map[pinetree.PageNo]bool // that the log touched
	redo   bool
	buf    []byte
}

func (d *digester) batch(b pinetree.Batch) error {
	return storepb.Records(b, func(r pinetree.Record) error {
		if r.LSN > d.result.At {
			return errDigestDone
		}
		if r.LSN <= d.first {
			return nil // of a batch that is not gone yet, for its end is above
		}
		d.result.Records++
		d.result.Bytes += int64(len(r.Payload))
		d.add('r', r.Payload, uint64(r.Prev), uint64(r.LSN))
		if !d.redo {
			return nil
		}
		return DecodeRedo(r.Payload, func(op Op) error {
			if op.Kind == PageImage || op.Kind == PagePatch {
				d.pages[op.Page] = true
			}
			return nil
		})
	})
}

// state adds the pages, in rising order, and the keys.
func (d *digester) state(r Reader) error {
	at := d.result.At
	if at == 0 {
		return nil // nothing was replayed; a read at zero would see what comes next
	}
	for _, page := range slices.Sorted(maps.Keys(d.pages)) {
		read, err := r.Page(page, at)
		if err != nil {
			return fmt.Errorf("page %d, which the log changes up to %s: %w", page, at, err)
		}
		d.add('p', read.Page, uint64(page), uint64(read.PageLSN))
	}
	spec := RangeSpec{Limit: digestRange, At: at}
	for {
		read, err := r.Range(spec)
		if err != nil {
			return err
		}
		for _, item := range read.Items {
			d.add('k', item.Key, uint64(item.LSN))
			d.add('v', item.Value)
		}
		if !read.More || len(read.Items) == 0 {
			return nil
		}
		spec.Start = append(bytes.Clone(read.Items[len(read.Items)-1].Key), 0)
	}
}

// add hashes a kind, numbers and bytes such that no two sequences of calls
// give the same input.
func (d *digester) add(kind byte, data []byte, numbers ...uint64) {
	d.buf = append(d.buf[:0], kind)
	for _, n := range numbers {
		d.buf = binary.LittleEndian.AppendUint64(d.buf, n)
	}
	d.buf = binary.LittleEndian.AppendUint64(d.buf, uint64(len(data)))
	d.sum.Write(d.buf)
	d.sum.Write(data)
}

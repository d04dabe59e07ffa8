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
	results, err := Digests(r, []pinetree.LSN{at})
	if err != nil {
		return DigestResult{}, err
	}
	return results[0], nil
}

// Digests is Digest as of several LSNs, in the same order. It reads the log
// once, and of the pages after the first LSN those that changed up to the next.
func Digests(r Reader, at []pinetree.LSN) ([]DigestResult, error) {
	position := r.Position()
	asked := make([]pinetree.LSN, len(at))
	for i, lsn := range at {
		if asked[i] = lsn; lsn == 0 || lsn > position.LSN {
			asked[i] = position.LSN
		}
		if asked[i] < position.Truncated {
			_, err := r.Range(RangeSpec{At: asked[i]})
			return nil, err
		}
	}
	d := digester{
		log: sha256.New(), done: position.First(), redo: position.Format == pinetree.FormatRedo,
		pages: map[pinetree.PageNo]pageSum{}, touched: map[pinetree.PageNo]bool{},
	}
	rising := slices.Clone(asked)
	slices.Sort(rising)
	results := map[pinetree.LSN]DigestResult{}
	for _, lsn := range slices.Compact(rising) {
		result, err := d.digest(r, lsn)
		if err != nil {
			return nil, err
		}
		results[lsn] = result
	}
	inOrder := make([]DigestResult, len(at))
	for i, lsn := range asked {
		inOrder[i] = results[lsn]
	}
	return inOrder, nil
}

var errDigestDone = errors.New("the rest of the log is above the LSN of the digest")

// digester is one run of Digests.
type digester struct {
	redo bool

	// What of the log was read, up to done.
	done           pinetree.LSN
	log            hash.Hash
	records, bytes int64

	pages   map[pinetree.PageNo]pageSum
	touched map[pinetree.PageNo]bool // by what was read since pages were
	buf     []byte
}

// pageSum is what a digest holds of a page.
type pageSum struct {
	sum [sha256.Size]byte
	lsn pinetree.LSN // of its last change
}

// digest goes on to an LSN, which rises from call to call.
func (d *digester) digest(r Reader, at pinetree.LSN) (DigestResult, error) {
	err := r.Log(d.done, func(b pinetree.Batch) error { return d.batch(b, at) })
	if err != nil && !errors.Is(err, errDigestDone) {
		return DigestResult{}, err
	}
	cloned, err := d.log.(hash.Cloner).Clone()
	if err != nil {
		return DigestResult{}, fmt.Errorf("the sum of the log cannot be gone on with: %w", err)
	}
	result := DigestResult{At: at, Records: d.records, Bytes: d.bytes}
	if d.redo {
		if err := d.state(r, cloned, at); err != nil {
			return DigestResult{}, err
		}
	}
	cloned.Sum(result.Sum[:0])
	return result, nil
}

// batch takes the records of a batch above done and up to an LSN.
func (d *digester) batch(b pinetree.Batch, to pinetree.LSN) error {
	return storepb.Records(b, func(r pinetree.Record) error {
		if r.LSN > to {
			return errDigestDone
		}
		if r.LSN <= d.done {
			return nil // of a batch whose end is above
		}
		d.done = r.LSN
		d.records++
		d.bytes += int64(len(r.Payload))
		d.add(d.log, 'r', r.Payload, uint64(r.Prev), uint64(r.LSN))
		if !d.redo {
			return nil
		}
		return DecodeRedo(r.Payload, func(op Op) error {
			if op.Kind == PageImage || op.Kind == PagePatch {
				d.touched[op.Page] = true
			}
			return nil
		})
	})
}

// state adds the pages, in rising order, and the keys.
func (d *digester) state(r Reader, sum hash.Hash, at pinetree.LSN) error {
	if at == 0 {
		return nil // nothing was replayed; a read at zero would see what comes next
	}
	for page := range d.touched {
		read, err := r.Page(page, at)
		if err != nil {
			return fmt.Errorf("page %d, which the log changes up to %s: %w", page, at, err)
		}
		d.pages[page] = pageSum{sum: sha256.Sum256(read.Page), lsn: read.PageLSN}
	}
	clear(d.touched)
	for _, page := range slices.Sorted(maps.Keys(d.pages)) {
		p := d.pages[page]
		d.add(sum, 'p', p.sum[:], uint64(page), uint64(p.lsn))
	}
	spec := RangeSpec{Limit: digestRange, At: at}
	for {
		read, err := r.Range(spec)
		if err != nil {
			return err
		}
		for _, item := range read.Items {
			d.add(sum, 'k', item.Key, uint64(item.LSN))
			d.add(sum, 'v', item.Value)
		}
		if !read.More || len(read.Items) == 0 {
			return nil
		}
		spec.Start = append(bytes.Clone(read.Items[len(read.Items)-1].Key), 0)
	}
}

// add hashes a kind, numbers and bytes such that no two sequences of calls
// give the same input.
func (d *digester) add(sum hash.Hash, kind byte, data []byte, numbers ...uint64) {
	d.buf = append(d.buf[:0], kind)
	for _, n := range numbers {
		d.buf = binary.LittleEndian.AppendUint64(d.buf, n)
	}
	d.buf = binary.LittleEndian.AppendUint64(d.buf, uint64(len(data)))
	sum.Write(d.buf)
	sum.Write(data)
}

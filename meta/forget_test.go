package meta_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
)

// TestWhatMayBeForgottenIsNotCarriedOutAgain: a transaction that is sent again so
// late that its id is forgotten is refused when it says since when it may have been
// carried out.
func TestWhatMayBeForgottenIsNotCarriedOutAgain(t *testing.T) {
	table, index := meta.Empty(), pinetree.RaftIndex(0)
	carryOut := func(x meta.Txn) (meta.Result, error) {
		t.Helper()
		index++
		d, result, err := meta.Evaluate(table, meta.Proposal{Txn: x, Index: index})
		next, _, advanceErr := table.Advance(d)
		if advanceErr != nil {
			t.Fatal(advanceErr)
		}
		table = next
		return result, err
	}
	put := func(id string) meta.Txn {
		return meta.Txn{ID: []byte(id), Then: []meta.Op{{Kind: meta.OpPut, Span: meta.Span{Key: []byte("k")}, Value: []byte(id)}}}
	}
	for _, id := range []string{"first", "second"} {
		if _, err := carryOut(put(id)); err != nil {
			t.Fatal(err)
		}
	}
	late, refused := put("late"), put("refused")
	late.Since = table.Revision()
	refused.Compares = []meta.Compare{{Key: []byte("k"), Target: meta.TargetVersion, Number: 1 << 40}}
	refused.Since = late.Since
	if _, err := carryOut(late); err != nil {
		t.Fatal(err)
	}
	for n := range meta.MaxMemories - 1 {
		if _, err := carryOut(refused); err != nil { // it changes nothing, and takes nobody's place
			t.Fatal(err)
		}
		if _, err := carryOut(put(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	before := table.Revision()
	if r, err := carryOut(late); err != nil || !r.Repeated || r.Revision != 3 {
		t.Fatalf("the last one that is remembered: %+v, %v", r, err)
	}
	if _, err := carryOut(put("one more")); err != nil {
		t.Fatal(err)
	}
	_, err := carryOut(late)
	if refusal, ok := errors.AsType[meta.Refusal](err); !ok || refusal.Reason != meta.Forgotten || !errors.Is(err, pinetree.ErrTruncated) || table.Revision() != before+1 {
		t.Fatalf("a forgotten one: %v, at revision %d", err, table.Revision())
	}
	fresh := put("fresh")
	fresh.Since = table.Revision()
	if _, err := carryOut(fresh); err != nil {
		t.Fatalf("one that was sent just now: %v", err)
	}
}

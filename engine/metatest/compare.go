package metatest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Compare ends the test when two engines differ in anything of the metadata of the
// volumes that the second one has.
func Compare(t testing.TB, got, want engine.Engine) {
	t.Helper()
	for id := range want.Position().Volumes {
		a, err := want.Meta(id)
		if err != nil {
			t.Fatalf("metadata of volume %d: %v", id, err)
		}
		b, err := got.Meta(id)
		if err != nil {
			t.Fatalf("metadata of volume %d: %v", id, err)
		}
		if diff, err := Diff(b, a); err != nil || diff != "" {
			t.Fatalf("metadata of volume %d, wanted (-) and there (+), %v:\n%s", id, err, diff)
		}
	}
}

// Diff says in what a table is not the one that is wanted, which is marked by minus
// signs; nothing when they are the same in all that is stored of them and that can be
// read from them. An error says that one cannot be read.
func Diff(got, want *meta.Table) (string, error) {
	a, err := inWords(want)
	if err != nil {
		return "", err
	}
	b, err := inWords(got)
	return cmp.Diff(a, b), err
}

func inWords(table *meta.Table) ([]string, error) {
	digest, err := table.Digest(0)
	if err != nil {
		return nil, err
	}
	changes, through, err := table.Since(table.Compacted(), 1<<30)
	words := []string{
		fmt.Sprintf("revision %d, compacted %d, %d bytes, digest %x", table.Revision(), table.Compacted(), table.Bytes(), digest),
		fmt.Sprintf("%d changes up to %d, %v", len(changes), through, err),
	}
	err = table.Records(func(r meta.Record) error {
		record, err := storepb.EncodeMetaRecord(0, r)
		words = append(words, fmt.Sprintf("%x", record))
		return err
	})
	return words, err
}

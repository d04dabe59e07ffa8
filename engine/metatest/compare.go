package metatest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Compare ends the test when two engines differ in anything of the metadata of the
// volumes that the second one has.
func Compare(t testing.TB, got, want engine.Engine) {
	t.Helper()
	for id := range want.Position().Volumes {
		a, b := inWords(t, want, id), inWords(t, got, id)
		if !slices.Equal(a, b) {
			t.Fatalf("metadata of volume %d, wanted (-) and there (+):\n%s", id, cmp.Diff(a, b))
		}
	}
}

func inWords(t testing.TB, e engine.Engine, id pinetree.VolumeID) []string {
	t.Helper()
	table, err := e.Meta(id)
	if err != nil {
		t.Fatalf("metadata of volume %d: %v", id, err)
	}
	digest, err := table.Digest(0)
	words := []string{fmt.Sprintf("revision %d, compacted %d, %d bytes, digest %x, %v", table.Revision(), table.Compacted(), table.Bytes(), digest, err)}
	changes, through, err := table.Since(table.Compacted(), 1<<30)
	words = append(words, fmt.Sprintf("%d changes up to %d, %v", len(changes), through, err))
	err = table.Records(func(r meta.Record) error {
		record, err := storepb.EncodeMetaRecord(id, r)
		words = append(words, fmt.Sprintf("%x", record))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return words
}

package walengine

import (
	"bytes"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// FuzzOrigin reads anything as a .group file. One that is good is the one that
// would be written.
func FuzzOrigin(f *testing.F) {
	l := life{group: 3, generation: 2}
	good, err := encodeOrigin(l, origin{bound: 1, start: 96, position: pinetree.Position{Index: 9, Term: 2}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeOrigin(l, data)
		if err != nil {
			return
		}
		again, err := encodeOrigin(l, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeOrigin(l, again); err != nil || !bytes.Equal(again[:groupHeaderBytes-8], data[:groupHeaderBytes-8]) {
			t.Fatalf("%+v came back as %x, %v", o, again, err)
		}
	})
}

// FuzzName reads anything as a file's name. One that is good is the one that
// would be made.
func FuzzName(f *testing.F) {
	f.Add(life{group: 1, generation: 2}.groupName())
	f.Add(life{group: 1 << 63, generation: 1}.logName(4096))
	f.Add("LOCK")
	f.Fuzz(func(t *testing.T, name string) {
		l, base, suffix, ok := parseName(name)
		if !ok {
			return
		}
		if made := l.groupName(); suffix == groupSuffix && made != name {
			t.Fatalf("%q was read as %q", name, made)
		}
		if made := l.logName(base); suffix == logSuffix && made != name {
			t.Fatalf("%q was read as %q", name, made)
		}
	})
}

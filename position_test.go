package pinetree_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
)

func TestPositionCloneIsIndependent(t *testing.T) {
	original := pinetree.Position{
		Index: 7, Term: 3, Membership: []byte("members"),
		Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
			1: {LSN: 100, Base: 10, Terms: []pinetree.TermStart{{Term: 1, Start: 10}}, Format: pinetree.FormatRedo},
			2: {LSN: 200},
		},
	}
	clone := original.Clone()
	if !reflect.DeepEqual(clone, original) {
		t.Fatalf("the clone %+v differs from %+v", clone, original)
	}
	clone.Index, clone.Term = 8, 4
	v := clone.Volumes[1]
	v.LSN = 300
	clone.Volumes[1] = v
	clone.Volumes[3] = pinetree.VolumePosition{LSN: 1}
	delete(clone.Volumes, 2)
	if original.Index != 7 || original.Term != 3 || len(original.Volumes) != 2 ||
		original.Volumes[1].LSN != 100 || original.Volumes[2].LSN != 200 {
		t.Fatalf("writing to the clone changed the original: %+v", original)
	}
}

func TestPositionCloneOfNothingCanBeWrittenTo(t *testing.T) {
	clone := pinetree.Position{}.Clone()
	clone.Volumes[1] = pinetree.VolumePosition{LSN: 1}
	if clone.Volumes[1].LSN != 1 {
		t.Fatal("the volume is not there")
	}
}

func TestOpenComputeTermIsTheLastOne(t *testing.T) {
	if got := (pinetree.VolumePosition{}).Term(); got != 0 {
		t.Errorf("a volume without a term says %d", got)
	}
	v := pinetree.VolumePosition{Terms: []pinetree.TermStart{{Term: 2, Start: 0}, {Term: 9, Start: 40}}}
	if got := v.Term(); got != 9 {
		t.Errorf("the open term is %d, want 9", got)
	}
}

// TestDisorderNamesTheFirstBrokenPair compares Disorder with the order written
// as a list, over all small sets of watermarks.
func TestDisorderNamesTheFirstBrokenPair(t *testing.T) {
	names := []string{"truncated", "flushed", "applied", "committed", "ordered", "received"}
	rapid.Check(t, func(t *rapid.T) {
		marks := rapid.SliceOfN(rapid.Uint64Range(0, 6), 6, 6).Draw(t, "marks")
		want := ""
		for i := 1; i < len(marks); i++ {
			if marks[i-1] > marks[i] {
				want = names[i-1] + " > " + names[i]
				break
			}
		}
		w := watermarks(marks)
		if got := w.Disorder(); got != want {
			t.Fatalf("%+v: Disorder is %q, want %q", w, got, want)
		}
	})
}

func TestDisorderSeesEachPair(t *testing.T) {
	for broken := range 5 {
		marks := []uint64{1, 2, 3, 4, 5, 6}
		marks[broken], marks[broken+1] = marks[broken+1], marks[broken]
		if watermarks(marks).Disorder() == "" {
			t.Errorf("%v passes as ordered", marks)
		}
	}
	if got := (pinetree.Watermarks{}).Disorder(); got != "" {
		t.Errorf("all zero: %q, want none", got)
	}
	if got := watermarks([]uint64{5, 5, 5, 5, 5, 5}).Disorder(); got != "" {
		t.Errorf("all equal: %q, want none", got)
	}
}

func watermarks(m []uint64) pinetree.Watermarks {
	return pinetree.Watermarks{
		Truncated: pinetree.LSN(m[0]), Flushed: pinetree.LSN(m[1]), Applied: pinetree.LSN(m[2]),
		Committed: pinetree.LSN(m[3]), Ordered: pinetree.LSN(m[4]), Received: pinetree.LSN(m[5]),
	}
}

func TestEveryFieldOfAVolumeCounts(t *testing.T) {
	v := pinetree.VolumePosition{Terms: []pinetree.TermStart{{Term: 1}}, Slots: []pinetree.Slot{{Name: "a"}}}
	if !v.Equal(pinetree.VolumePosition{Terms: []pinetree.TermStart{{Term: 1}}, Slots: []pinetree.Slot{{Name: "a"}}}) {
		t.Fatal("a position is not equal to itself")
	}
	for i := range reflect.TypeFor[pinetree.VolumePosition]().NumField() {
		other := v
		field := reflect.ValueOf(&other).Elem().Field(i)
		switch name := reflect.TypeFor[pinetree.VolumePosition]().Field(i).Name; name {
		case "Terms":
			other.Terms = []pinetree.TermStart{{Term: 2}}
		case "Slots":
			other.Slots = []pinetree.Slot{{Name: "a", Lost: true}}
		case "Settings":
			other.Settings.MetaBytes = 1
		default:
			if field.CanInt() {
				field.SetInt(1)
			} else {
				field.SetUint(1)
			}
		}
		if v.Equal(other) || other.Equal(v) {
			t.Errorf("positions that differ in %s are equal", reflect.TypeFor[pinetree.VolumePosition]().Field(i).Name)
		}
	}
}

// TestEqualPositionsAreSoInEveryField changes one field after the other.
func TestEqualPositionsAreSoInEveryField(t *testing.T) {
	fields := reflect.TypeFor[pinetree.VolumePosition]()
	for n := range fields.NumField() {
		var v pinetree.VolumePosition
		set(t, reflect.ValueOf(&v).Elem().Field(n))
		if v.Equal(pinetree.VolumePosition{}) || !v.Equal(v) {
			t.Errorf("%s does not count", fields.Field(n).Name)
		}
	}
}

// set gives a value that is not zero.
func set(t *testing.T, v reflect.Value) {
	t.Helper()
	switch {
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case v.Kind() == reflect.Struct:
		set(t, v.Field(0))
	default:
		t.Fatalf("a field of type %s: teach this test", v.Type())
	}
}

package pinetree_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
)

func TestLSNPrintsAsPostgreSQLDoes(t *testing.T) {
	for lsn, want := range map[pinetree.LSN]string{
		0:                  "0/0",
		0x16B3740:          "0/16B3740",
		0xFFFFFFFF:         "0/FFFFFFFF",
		0x100000000:        "1/0",
		0xABCDEF0100000002: "ABCDEF01/2",
		0xFFFFFFFFFFFFFFFF: "FFFFFFFF/FFFFFFFF",
	} {
		if got := lsn.String(); got != want {
			t.Errorf("LSN(%#x) prints %q, want %q", uint64(lsn), got, want)
		}
		parsed, err := pinetree.ParseLSN(want)
		if err != nil || parsed != lsn {
			t.Errorf("ParseLSN(%q) = %#x, %v; want %#x", want, uint64(parsed), err, uint64(lsn))
		}
	}
}

func TestLSNRoundTripsAsTextAndJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lsn := pinetree.LSN(rapid.Uint64().Draw(t, "lsn"))
		parsed, err := pinetree.ParseLSN(lsn.String())
		if err != nil || parsed != lsn {
			t.Fatalf("ParseLSN(%q) = %v, %v", lsn, parsed, err)
		}
		type document struct {
			At  pinetree.LSN
			Map map[pinetree.LSN]int
		}
		before := document{At: lsn, Map: map[pinetree.LSN]int{lsn: 1}}
		text, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"At":%q,"Map":{%q:1}}`, lsn, lsn)
		if string(text) != want {
			t.Fatalf("JSON is %s, want %s", text, want)
		}
		var after document
		if err := json.Unmarshal(text, &after); err != nil {
			t.Fatal(err)
		}
		if after.At != lsn || after.Map[lsn] != 1 {
			t.Fatalf("%s read back as %+v", text, after)
		}
	})
}

func TestParseLSNRefusesEverythingElse(t *testing.T) {
	for _, bad := range []string{
		"", "/", "0", "0/", "/0", "0/0/0", "0/100000000", "100000000/0", "-1/0", "+1/0", "0/-1",
		"0x1/0", "1_0/0", "g/0", "0/g", " 0/0", "0/0 ", "0 / 0", "0\\0", "０/0",
	} {
		if lsn, err := pinetree.ParseLSN(bad); err == nil {
			t.Errorf("ParseLSN(%q) = %s, want an error", bad, lsn)
		}
		kept := pinetree.LSN(42)
		if err := kept.UnmarshalText([]byte(bad)); err == nil || kept != 42 {
			t.Errorf("UnmarshalText(%q) = %v and left %s, want an error and 0/2A left alone", bad, err, kept)
		}
	}
}

func TestParseLSNReadsLowerCaseAndLeadingZeroes(t *testing.T) {
	for _, text := range []string{"0/16b3740", "00000000/016B3740", "0/16B3740"} {
		if lsn, err := pinetree.ParseLSN(text); err != nil || lsn != 0x16B3740 {
			t.Errorf("ParseLSN(%q) = %s, %v; want 0/16B3740", text, lsn, err)
		}
	}
}

func FuzzParseLSN(f *testing.F) {
	for _, seed := range []string{"0/16B3740", "FFFFFFFF/FFFFFFFF", "1/", "0/0/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lsn, err := pinetree.ParseLSN(text)
		if err != nil {
			if lsn != 0 {
				t.Fatalf("ParseLSN(%q) refuses and still returns %s", text, lsn)
			}
			return
		}
		again, err := pinetree.ParseLSN(lsn.String())
		if err != nil || again != lsn {
			t.Fatalf("ParseLSN(%q) = %s, which reads back as %s, %v", text, lsn, again, err)
		}
	})
}

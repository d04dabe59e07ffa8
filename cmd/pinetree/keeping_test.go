package main

import (
	"testing"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// storyOfKeeping sets what is kept of the volume of storyOfGroups, which is empty.
func storyOfKeeping(s *story) {
	type settings struct {
		KeepMS    int `json:"keep_ms"`
		KeepBytes int `json:"keep_bytes"`
		MaxTails  int `json:"max_tails"`
	}
	s.says("24h0m0s", "volume", "set", "pg", "--keep-for", "24h", "--keep-bytes", "2GiB")
	got := told[settings](s, "volume", "set", "pg", "--keep-bytes", "0", "--max-tails", "7")
	if want := (settings{KeepMS: 86_400_000, MaxTails: 7}); got != want {
		s.t.Errorf("settings %+v, want %+v", got, want)
	}
	s.refused(cli.ExitUsage, "want a number of bytes", "volume", "set", "pg", "--max-bytes", "many")
	s.refused(cli.ExitUsage, "a millisecond is the least", "volume", "set", "pg", "--keep-for", "1ns")
	s.says("no slots", "volume", "slot", "ls", "pg")
	s.says("10GiB", "volume", "slot", "put", "pg", "backup", "--max-bytes", "10GiB")
	type slot struct {
		Name string `json:"name"`
		LSN  string `json:"lsn"`
		Lost bool   `json:"lost"`
	}
	if slots := told[[]slot](s, "volume", "slot", "ls", "pg"); len(slots) != 1 || slots[0] != (slot{"backup", "0/0", false}) {
		s.t.Errorf("slots %+v", slots)
	}
	s.refused(cli.ExitFailed, "the log of volume 1 ends at 0/0", "volume", "slot", "put", "pg", "backup", "--lsn", "0/10")
	s.refused(cli.ExitUsage, "want two hexadecimal numbers", "volume", "slot", "put", "pg", "backup", "--lsn", "here")
	s.says("nothing is kept", "volume", "show", "pg")
	shown := told[struct {
		Kept struct {
			Because  string   `json:"kept_because"`
			Settings settings `json:"settings"`
			Slots    []slot   `json:"slots"`
		} `json:"kept"`
	}](s, "volume", "show", "pg")
	if shown.Kept.Settings.MaxTails != 7 || len(shown.Kept.Slots) != 1 || shown.Kept.Because == "" {
		s.t.Errorf("volume show: %+v", shown.Kept)
	}
	s.says("no slots", "volume", "slot", "drop", "pg", "backup")
	s.refused(cli.ExitUsage, "add --yes", "volume", "truncate", "pg", "--to", "0/10")
	s.refused(cli.ExitUsage, "want two hexadecimal numbers", "volume", "truncate", "pg", "--to", "ten", "--yes")
	s.says("the log ends there", "volume", "truncate", "pg", "--to", "0/10", "--yes")
	s.says("none", "volume", "set", "pg", "--keep-for", "0", "--max-tails", "0")
}

func TestBytesOnTheCommandLine(t *testing.T) {
	for text, want := range map[string]cli.Size{"0": 0, "4096": 4096, "2GiB": 2 << 30, "2G": 2 << 30, "3 TiB": 3 << 40, "64M": 64 << 20, "1KiB": 1024} {
		var b cli.Size
		if err := b.Set(text); err != nil || b != want {
			t.Errorf("%q: %d, %v, want %d", text, b, err, want)
		}
		var again cli.Size
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%d prints as %q, which is %d, %v", b, b, again, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5GiB", "GiB", "99999999999999999999", "9999999999TiB", "1MM"} {
		var b cli.Size
		if err := b.Set(text); err == nil {
			t.Errorf("%q was taken for %d", text, b)
		}
	}
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/adapter/pgwal"
)

// settings is what a command was called with.
type settings struct {
	zone     string
	nodes    int
	managers Managers
	config   string
}

// called runs a command with these arguments and returns its settings.
func called(t *testing.T, args ...string) (settings, int, string) {
	t.Helper()
	var s settings
	c := &cobra.Command{Use: "test", RunE: func(cmd *cobra.Command, _ []string) error {
		if s.config != "" {
			return FromFile(cmd, s.config)
		}
		return nil
	}}
	c.Flags().StringVar(&s.zone, "zone", "default", "a zone")
	c.Flags().IntVar(&s.nodes, "nodes", 3, "a number")
	c.Flags().StringVar(&s.config, "config", "", "a file")
	s.managers.Flag(c)
	var out, errs bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs(append([]string{}, args...)) // nil would be those of the tests
	code := Execute(context.Background(), c)
	return s, code, errs.String()
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSettingsComeFromFlagsThenEnvironmentThenFile(t *testing.T) {
	file := configFile(t, "zone: file\nnodes: 7\nmanager: [a:1, b:2]\n")
	run := func(args ...string) settings {
		t.Helper()
		s, code, errs := called(t, args...)
		if code != ExitDone {
			t.Fatalf("%v: exit code %d, %s", args, code, errs)
		}
		return s
	}
	if s := run(); s.zone != "default" || s.nodes != 3 || !slices.Equal(s.managers.Addresses, []string{DefaultManager}) {
		t.Errorf("defaults: %+v", s)
	}
	if s := run("--config", file); s.zone != "file" || s.nodes != 7 || !slices.Equal(s.managers.Addresses, []string{"a:1", "b:2"}) {
		t.Errorf("from the file: %+v", s)
	}
	t.Setenv("PINETREE_ZONE", "environment")
	t.Setenv("PINETREE_MANAGER", "c:3,d:4")
	if s := run("--config", file); s.zone != "environment" || s.nodes != 7 || !slices.Equal(s.managers.Addresses, []string{"c:3", "d:4"}) {
		t.Errorf("the environment over the file: %+v", s)
	}
	if s := run("--config", file, "--zone", "flag", "--manager", "e:5"); s.zone != "flag" || s.nodes != 7 || !slices.Equal(s.managers.Addresses, []string{"e:5"}) {
		t.Errorf("flags over both: %+v", s)
	}
	t.Setenv("PINETREE_CONFIG", file)
	if s := run(); s.nodes != 7 {
		t.Errorf("a file named in the environment: %+v", s)
	}
}

func TestWrongSettingsAreUsageErrorsThatNameTheirPlace(t *testing.T) {
	for name, c := range map[string]struct{ file, says string }{
		"a key that is no flag": {"zoen: a", `"zoen"`},
		"a value of no use":     {"nodes: many", "nodes"},
		"no YAML":               {"{", "config.yaml"},
	} {
		if _, code, errs := called(t, "--config", configFile(t, c.file)); code != ExitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit code %d, %q", name, code, errs)
		}
	}
	t.Setenv("PINETREE_NODES", "many")
	if _, code, errs := called(t); code != ExitUsage || !strings.Contains(errs, "PINETREE_NODES") {
		t.Errorf("a wrong value in the environment: exit code %d, %q", code, errs)
	}
}

func TestExitCodes(t *testing.T) {
	for code, err := range map[int]error{
		ExitDone: nil, ExitFailed: errors.New("broken"), ExitUsage: Usagef("wrong: %w", errors.New("call")),
	} {
		c := &cobra.Command{Use: "test", RunE: func(*cobra.Command, []string) error { return err }}
		var errs bytes.Buffer
		c.SetErr(&errs)
		c.SetArgs([]string{})
		if got := Execute(context.Background(), c); got != code || (err != nil) != (errs.Len() > 0) {
			t.Errorf("%v: exit code %d, want %d; said %q", err, got, code, errs.String())
		}
	}
}

func TestListingsPrintBothWays(t *testing.T) {
	l := Listing{JSON: []int{1}, Columns: []string{"number"}, Rows: [][]any{{1}}, Empty: "none"}
	for format, want := range map[string]string{"table": "number", "json": "[\n  1\n]\n"} {
		var b bytes.Buffer
		o := Output{format}
		if err := o.Print(&b, l); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %q, %v", format, b.String(), err)
		}
	}
	var b bytes.Buffer
	l.Rows = nil
	if err := (&Output{"table"}).Print(&b, l); err != nil || b.String() != "none\n" {
		t.Errorf("empty: %q, %v", b.String(), err)
	}
}

func TestWALIsExplained(t *testing.T) {
	for want, c := range map[string]pgwal.Counts{
		"180,675 whole WAL records": {Records: 180_675, Delivered: 180_675},
		"52,711 whole WAL records, the end of one that began before the first segment and the beginning of one that goes on after the last segment": {
			Records: 52_711, HeadFragments: 1, TailFragments: 1, Delivered: 52_713,
		},
		"1 whole WAL records and 2 further pieces of long ones": {Records: 1, Delivered: 3},
	} {
		if got := ExplainWAL(c); got != want {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", 17825792: "17,825,792"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) is %q, want %q", n, got, want)
		}
	}
}

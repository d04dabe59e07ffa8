package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// shownGroup is what the listings print of a group as JSON.
type shownGroup struct {
	Group    int    `json:"group"`
	Voters   []int  `json:"voters"`
	Learners []int  `json:"learners"`
	Removed  []int  `json:"removed"`
	Leader   int    `json:"leader"`
	Change   string `json:"change"`
	Replicas []struct {
		Node     int `json:"node"`
		Progress struct {
			State string `json:"state"`
			Match int    `json:"match"`
		} `json:"progress"`
	} `json:"replicas"`
}

// testReplicas moves a group of one replica over the nodes of a cluster.
func testReplicas(t *testing.T) {
	groups := parsed[[]shownGroup](t, "clustermgr", "group", "create", "--replicas", "1")
	group, first := fmt.Sprint(groups[0].Group), groups[0].Voters[0]
	second, third := first%3+1, (first+1)%3+1
	change := func(args ...string) shownGroup {
		t.Helper()
		var after []shownGroup
		text := eventually(t, append([]string{"clustermgr", "group"}, append(args, "-o", "json")...)...)
		if err := json.Unmarshal([]byte(text), &after); err != nil || len(after) != 1 {
			t.Fatalf("%v: %v in %s", args, err, text)
		}
		if after[0].Change != "" {
			t.Errorf("%v returned in the middle: %+v", args, after[0])
		}
		return after[0]
	}
	are := func(g shownGroup, want ...int) {
		t.Helper()
		slices.Sort(want)
		if !slices.Equal(g.Voters, want) || len(g.Learners) != 0 {
			t.Errorf("voters %v, want %v: %+v", g.Voters, want, g)
		}
	}
	are(change("add-replica", group, fmt.Sprint(second)), first, second)
	are(change("replace-replica", group, fmt.Sprint(first), fmt.Sprint(third)), second, third)
	time.Sleep(5 * time.Second) // in which the leader goes quiet: nobody wants anything of it
	shown := parsed[shownGroup](t, "clustermgr", "group", "show", group)
	if len(shown.Replicas) != 2 || shown.Replicas[0].Progress.Match == 0 || shown.Replicas[1].Progress.State != "replicate" {
		t.Errorf("group show: %+v", shown)
	}
	if table := must(t, "clustermgr", "group", "show", group); !strings.Contains(table, "progress") || !strings.Contains(table, "has up to ") {
		t.Errorf("group show:\n%s", table)
	}
	are(change("remove-replica", group, fmt.Sprint(third), "--yes"), second)
	for _, tc := range []struct {
		code  int
		words string
		args  []string
	}{
		{cli.ExitFailed, "no replica left", []string{"remove-replica", group, fmt.Sprint(second), "--yes"}},
		{cli.ExitFailed, "there is no node 99", []string{"add-replica", group, "99"}},
		{cli.ExitFailed, "has a replica on node", []string{"add-replica", group, fmt.Sprint(second)}},
		{cli.ExitUsage, "want its number", []string{"add-replica", group, "x"}},
		{cli.ExitUsage, "accepts 3 arg", []string{"replace-replica", group, "1"}},
	} {
		if o := run(t, append([]string{"clustermgr", "group"}, tc.args...)...); o.code != tc.code || !strings.Contains(o.err, tc.words) {
			t.Errorf("%v: exit code %d, %s", tc.args, o.code, o.err)
		}
	}
}

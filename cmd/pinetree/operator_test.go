package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/operator"
)

// operatorVerbs are the operator's verbs, each with the test that runs it on a
// cluster. A verb that is not here fails TestEveryVerbOfTheOperatorIsTested; one
// that its test does not run fails that test.
var operatorVerbs = map[string]string{
	"node ls": "story", "node show": "story", "node drain": "story", "node undrain": "story", "node remove": "story",
	"group create": "story", "group ls": "story", "group show": "story", "group delete": "story",
	"group add-replica": "story", "group remove-replica": "story", "group replace-replica": "replicas",
	"volume create": "story", "volume ls": "story", "volume show": "story", "volume delete": "story",
	"volume set": "story", "volume slot ls": "story", "volume slot put": "story", "volume slot drop": "story", "volume truncate": "story",
	"leader show": "story", "leader move": "story",
	"lease ls": "story", "route": "story", "events": "story", "safe-to-stop": "story",
	"context ls": "contexts", "context use": "contexts", "context set": "contexts", "context delete": "contexts",
}

func clustermgr() *cobra.Command {
	c := &cobra.Command{Use: "clustermgr"}
	c.AddCommand(operator.Commands()...)
	return c
}

func verbsOf(c *cobra.Command) []string {
	if !c.HasSubCommands() {
		_, verb, _ := strings.Cut(c.CommandPath(), " ")
		return []string{verb}
	}
	var found []string
	for _, sub := range c.Commands() {
		found = append(found, verbsOf(sub)...)
	}
	return found
}

func TestEveryVerbOfTheOperatorIsTested(t *testing.T) {
	all := verbsOf(clustermgr())
	for _, verb := range all {
		if operatorVerbs[verb] == "" {
			t.Errorf("no test runs clustermgr %s on a cluster", verb)
		}
	}
	for verb := range operatorVerbs {
		if !slices.Contains(all, verb) {
			t.Errorf("there is no verb %s to be tested", verb)
		}
	}
}

func TestEveryVerbOfTheOperatorExplainsItself(t *testing.T) {
	root := clustermgr()
	for _, verb := range verbsOf(root) {
		c, _, err := root.Find(strings.Fields(verb))
		if err != nil {
			t.Fatal(err)
		}
		if c.Short == "" || !strings.Contains(c.Example, "clustermgr "+verb) {
			t.Errorf("%s: %q, example %q", verb, c.Short, c.Example)
		}
		for line := range strings.SplitSeq(c.Long, "\n") {
			if len([]rune(line)) > 88 {
				t.Errorf("%s: the help has a long line: %s", verb, line)
			}
		}
	}
}

// story runs verbs on a cluster and notes which ones.
type story struct {
	t   *testing.T
	ran map[string]bool
}

func (s *story) note(args []string) {
	s.ran[args[0]] = true
	if len(args) > 1 {
		s.ran[args[0]+" "+args[1]] = true
	}
	if len(args) > 2 {
		s.ran[strings.Join(args[:3], " ")] = true
	}
}

// says runs a verb that must be done, as a table, and wants these words.
func (s *story) says(words string, args ...string) {
	s.t.Helper()
	s.note(args)
	if out := eventually(s.t, append([]string{"clustermgr"}, args...)...); !strings.Contains(out, words) {
		s.t.Errorf("%v does not say %q:\n%s", args, words, out)
	}
}

// told runs a verb that must be done, as JSON.
func told[T any](s *story, args ...string) T {
	s.t.Helper()
	s.note(args)
	var v T
	text := eventually(s.t, append(append([]string{"clustermgr"}, args...), "-o", "json")...)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		s.t.Fatalf("%v: %v in %s", args, err, text)
	}
	return v
}

// refused runs a verb that must fail with an exit code and these words.
func (s *story) refused(code int, words string, args ...string) {
	s.t.Helper()
	if o := run(s.t, append([]string{"clustermgr"}, args...)...); o.code != code || !strings.Contains(o.err, words) {
		s.t.Errorf("%v: exit code %d, %s; want %d and %q", args, o.code, o.err, code, words)
	}
}

type shownNode struct {
	Node     int    `json:"node"`
	State    string `json:"state"`
	Zone     string `json:"zone"`
	Leaders  int    `json:"leaders"`
	Replicas int    `json:"replicas"`
	Draining bool   `json:"draining"`
	Groups   []struct {
		Group int  `json:"group"`
		Leads bool `json:"leads"`
	} `json:"groups"`
}

// TestTheOperatorsStory runs every verb on a cluster of four nodes, from its
// first volume to the removal of a node.
func TestTheOperatorsStory(t *testing.T) {
	c, _ := startCluster(t, 4)
	s := &story{t, map[string]bool{}}
	t.Run("volumes and groups", func(t *testing.T) { s.t = t; storyOfGroups(s) })
	t.Run("what is kept", func(t *testing.T) { s.t = t; storyOfKeeping(s) })
	t.Run("moves and drains", func(t *testing.T) { s.t = t; storyOfMoves(s) })
	t.Run("replicas", func(t *testing.T) { s.t = t; storyOfReplicas(s) })
	t.Run("events", func(t *testing.T) { s.t = t; storyOfEvents(s) })
	t.Run("watch and completion", func(t *testing.T) { s.t = t; storyOfShells(s) })
	t.Run("interruptions", func(t *testing.T) { s.t = t; storyOfInterruptions(s, c) })
	t.Run("the end", func(t *testing.T) { s.t = t; storyOfTheEnd(s) })
	for verb, test := range operatorVerbs {
		if test == "story" && !s.ran[verb] {
			t.Errorf("the story does not run %s", verb)
		}
	}
}

func storyOfGroups(s *story) {
	s.refused(cli.ExitFailed, "no volume", "route", "pg")
	s.refused(cli.ExitUsage, "formats are opaque", "volume", "create", "pg", "--format", "jpeg")
	s.says("opaque", "volume", "create", "pg", "--replicas", "3")
	groups := told[[]shownGroup](s, "group", "create", "--replicas", "1", "--home-zone", "b")
	if len(groups) != 1 || len(groups[0].Voters) != 1 || groups[0].Group != 2 {
		s.t.Errorf("group create: %+v", groups)
	}
	s.says("2", "group", "ls")
	if all := told[[]shownGroup](s, "group", "ls"); len(all) != 2 {
		s.t.Errorf("group ls: %+v", all)
	}
	nodes := told[[]shownNode](s, "node", "ls")
	if len(nodes) != 4 || nodes[0].Node != 1 || nodes[2].Zone != "c" || nodes[0].State != "alive" {
		s.t.Errorf("node ls: %+v", nodes)
	}
	s.says("alive", "node", "ls")
	s.says("It has replicas of", "node", "show", "1")
	led := 0
	for _, n := range nodes {
		shown := told[shownNode](s, "node", "show", fmt.Sprint(n.Node))
		if shown.Node != n.Node || len(shown.Groups) != shown.Replicas {
			s.t.Errorf("node show: %+v", shown)
		}
		for _, g := range shown.Groups {
			if g.Leads {
				led++
			}
		}
	}
	if led != 2 {
		s.t.Errorf("the nodes lead %d groups of 2", led)
	}
	s.refused(cli.ExitFailed, "there is no node 9", "node", "show", "9")
	s.says("in group 1", "volume", "show", "pg")
	s.says("pg", "volume", "ls")
	s.says("serves", "route", "pg")
	route := told[struct {
		Leader   int         `json:"leader"`
		Replicas []shownNode `json:"replicas"`
		States   []struct {
			Node   int  `json:"node"`
			Serves bool `json:"serves"`
		} `json:"states"`
	}](s, "route", "pg")
	if route.Leader == 0 || len(route.Replicas) != 3 || len(route.States) != 3 || !route.States[0].Serves {
		s.t.Errorf("route: %+v", route)
	}
	told[any](s, "volume", "show", "pg")
	told[any](s, "volume", "ls")
	s.says("holder", "lease", "ls")
	told[any](s, "lease", "ls")
}

func storyOfMoves(s *story) {
	type move struct {
		From    int     `json:"from"`
		To      int     `json:"to"`
		Moved   bool    `json:"moved"`
		PauseMS float64 `json:"pause_ms"`
	}
	before := told[[]shownGroup](s, "leader", "show", "1")
	if dry := told[move](s, "leader", "move", "1", "--dry-run"); dry.Moved || dry.From != before[0].Leader || dry.To == dry.From || dry.To == 0 {
		s.t.Errorf("dry run: %+v", dry)
	}
	s.says("expected pause", "leader", "move", "1", "--dry-run")
	if moved := told[move](s, "leader", "move", "1"); !moved.Moved || moved.From != before[0].Leader || moved.To == moved.From || moved.PauseMS == 0 {
		s.t.Errorf("moved: %+v", moved)
	}
	s.says("appointment", "leader", "show")
	s.refused(cli.ExitFailed, "no other replica", "leader", "move", "2", "--to", "9")
	s.refused(cli.ExitFailed, "there is no group 77", "leader", "move", "77")
	s.refused(cli.ExitUsage, "want its number", "leader", "show", "one")

	leader := fmt.Sprint(told[[]shownGroup](s, "leader", "show", "1")[0].Leader)
	if o := run(s.t, "clustermgr", "safe-to-stop", leader, "-o", "json"); o.code == cli.ExitUsage || !strings.Contains(o.out, "\"safe\"") {
		s.t.Errorf("safe-to-stop: %+v", o)
	}
	drained := told[[]shownNode](s, "node", "drain", leader)
	if len(drained) != 1 || !drained[0].Draining || drained[0].Leaders != 0 {
		s.t.Errorf("drained: %+v", drained)
	}
	s.says("drained", "node", "ls")
	// The node that has the only replica of group 2 is never safe to stop.
	only := told[[]shownGroup](s, "group", "ls")[1].Voters[0]
	s.note([]string{"safe-to-stop"})
	s.refused(cli.ExitFailed, "not safe", "safe-to-stop", fmt.Sprint(only))
	if o := run(s.t, "clustermgr", "safe-to-stop", fmt.Sprint(only)); !strings.Contains(o.out, "group 2") {
		s.t.Errorf("safe-to-stop says %q", o.out)
	}
	s.says("alive", "node", "undrain", leader)
	if back := told[[]shownNode](s, "node", "undrain", leader); back[0].Draining {
		s.t.Errorf("undrained: %+v", back)
	}
	s.refused(cli.ExitFailed, "there is no node 9", "node", "drain", "9")
	s.refused(cli.ExitUsage, "want its number", "node", "drain", "first")
}

func storyOfReplicas(s *story) {
	first := told[[]shownGroup](s, "group", "ls")[1].Voters[0]
	second := fmt.Sprint(first%4 + 1)
	s.says(second, "group", "add-replica", "2", second)
	s.refused(cli.ExitUsage, "--yes", "group", "remove-replica", "2", second)
	if left := told[[]shownGroup](s, "group", "remove-replica", "2", second, "--yes"); len(left) != 1 || !slices.Equal(left[0].Voters, []int{first}) {
		s.t.Errorf("left: %+v", left)
	}
	s.says("progress", "group", "show", "1")
	s.refused(cli.ExitFailed, "there is no group 77", "group", "show", "77")
	shown := told[struct {
		Words []string `json:"words"`
	}](s, "group", "show", "1")
	if len(shown.Words) == 0 {
		s.t.Error("group show says nothing in words")
	}
}

func storyOfEvents(s *story) {
	s.says("activated", "events")
	type event struct {
		ID    uint64 `json:"id"`
		Kind  string `json:"kind"`
		Group int    `json:"group"`
	}
	all := told[[]event](s, "events", "--limit", "0")
	last := told[[]event](s, "events", "--limit", "1")
	if len(last) != 1 || last[0].ID < all[len(all)-1].ID {
		s.t.Errorf("the newest is %+v, of %d up to %d", last, len(all), all[len(all)-1].ID)
	}
	for _, e := range told[[]event](s, "events", "--group", "2", "--kind", "appointed") {
		if e.Group != 2 || e.Kind != "appointed" {
			s.t.Errorf("appointments of group 2: %+v", e)
		}
	}
	s.says("There is no such event", "events", "--kind", "nonsense")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, ended := follow(ctx, "events", "--follow", "--kind", "moved", "--after", fmt.Sprint(last[0].ID), "-o", "json")
	told[any](s, "leader", "move", "1")
	within(s.t, "the move is told of", func() bool { return strings.Contains(out.String(), `"kind":"moved"`) })
	cancel()
	if code := <-ended; code != cli.ExitDone {
		s.t.Errorf("events --follow ends with %d: %s", code, out)
	}
}

func storyOfTheEnd(s *story) {
	s.refused(cli.ExitFailed, "delete them first", "group", "delete", "1", "--yes")
	s.refused(cli.ExitUsage, "--yes", "volume", "delete", "pg")
	s.says("deleted", "volume", "delete", "pg", "--yes")
	s.refused(cli.ExitFailed, "no volume", "volume", "show", "pg")
	s.refused(cli.ExitFailed, "no volume", "volume", "delete", "pg", "--yes")
	s.refused(cli.ExitUsage, "--yes", "group", "delete", "2")
	told[any](s, "volume", "create", "other", "--replicas", "1")
	if gone := told[struct{ Deleted bool }](s, "group", "delete", "2", "--yes"); !gone.Deleted {
		s.t.Error("group 2 is not deleted")
	}
	other := told[[]shownGroup](s, "group", "ls")
	if len(other) != 1 {
		s.t.Fatalf("groups at the end: %+v", other)
	}
	leaving := fmt.Sprint(other[0].Voters[0])
	s.refused(cli.ExitUsage, "--yes", "node", "remove", leaving)
	s.refused(cli.ExitFailed, "there is no node 9", "node", "remove", "9", "--yes")
	if removed := told[struct{ Removed bool }](s, "node", "remove", leaving, "--yes"); !removed.Removed {
		s.t.Errorf("node %s is not removed", leaving)
	}
	if nodes := told[[]shownNode](s, "node", "ls"); len(nodes) != 3 {
		s.t.Errorf("nodes at the end: %+v", nodes)
	}
}

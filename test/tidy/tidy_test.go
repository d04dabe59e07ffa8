package tidy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const projectRoot = "../.."

var rewrite = flag.Bool("rewrite", false, "write testdata/violations.golden anew")

// rules are all that is checked by reading source text.
func rules(l limits) []rule {
	return []rule{
		{"layers", checkLayers},
		{"fences", checkFences},
		{"pure", checkPure},
		{"files", l.checkFiles},
		{"functions", l.checkFunctions},
		{"interfaces", l.checkInterfaces},
		{"integers", checkIntegers},
		{"packagecomments", checkPackageComments},
		{"comments", checkComments},
		{"names", checkNames},
		{"links", checkLinks},
		{"architecture", checkArchitecture},
	}
}

type rule struct {
	name  string
	check func(*tree) []violation
}

var project = sync.OnceValues(func() (*tree, error) { return loadTree(projectRoot) })

func TestProjectKeepsItsRules(t *testing.T) {
	tree, err := project()
	if err != nil {
		t.Fatal(err)
	}
	// Far fewer than there are, so that a walk that finds nothing fails.
	if len(tree.packages) < 8 {
		t.Fatalf("%d packages and %d pages were found below %s", len(tree.packages), len(tree.pages), projectRoot)
	}
	for _, r := range rules(projectLimits) {
		t.Run(r.name, func(t *testing.T) {
			for _, v := range r.check(tree) {
				t.Error(v)
			}
		})
	}
}

// TestPeersKeepTheRules holds the module of the comparison to what does not
// speak of the layers of this one.
func TestPeersKeepTheRules(t *testing.T) {
	tree, err := loadTree(filepath.Join(projectRoot, "test", "bench", "peers"))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.packages) < 5 {
		t.Fatalf("only %d packages were found", len(tree.packages))
	}
	for _, r := range rules(projectLimits) {
		switch r.name {
		case "layers", "fences", "pure", "architecture":
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			for _, v := range r.check(tree) {
				t.Error(v)
			}
		})
	}
}

// TestEachRuleFindsWhatBreaksIt runs the rules over a small project that
// breaks them and keeps them in about as many places.
func TestEachRuleFindsWhatBreaksIt(t *testing.T) {
	tree, err := loadTree(filepath.Join("testdata", "tree"))
	if err != nil {
		t.Fatal(err)
	}
	small := limits{fileLines: 50, functionLines: 8, testFunctionLines: 12, packageCodeLines: 70, interfaceMethods: 6}
	var text strings.Builder
	for _, r := range rules(small) {
		found := r.check(tree)
		if len(found) == 0 {
			t.Errorf("rule %s finds nothing in testdata/tree", r.name)
		}
		fmt.Fprintf(&text, "# %s\n", r.name)
		for _, v := range found {
			fmt.Fprintln(&text, v)
		}
	}
	golden := filepath.Join("testdata", "violations.golden")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("testdata/tree is judged otherwise than %s says:\n%s", golden, firstDifference(string(want), text.String()))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return "want " + w[i] + "\ngot  " + g[i]
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}

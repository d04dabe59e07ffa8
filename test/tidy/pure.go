package tidy

import (
	"go/ast"
	"slices"
)

// pure packages decide and remember, and do nothing else: the same calls give
// the same answers, so tests can walk through them exhaustively and a
// simulation can step them.
var pure = []string{".", "adapter", "adapter/outbox", "adapter/picker", "lease", "logservice/group", "logservice/manifest", "logservice/membership", "logservice/news", "logservice/pace", "logservice/packing", "logservice/rawnode", "logservice/replay", "logservice/retention", "meta", "clustermgr/policy", "clustermgr/upkeep"}

// impure packages of the standard library give a pure one a clock, a
// goroutine's business or I/O.
var impure = []string{"context", "net", "net/http", "os", "os/exec", "sync", "sync/atomic", "math/rand", "math/rand/v2"}

// impureFiles may import one of them all the same, for the reason given.
var impureFiles = map[string]struct{ imported, reason string }{
	"logservice/group/raftlogger.go": {"os", "raft's logger interface has Fatal, which must end the process"},
}

var clockCalls = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// checkPure finds in the pure packages what would make them otherwise. Reading
// CLOCK_BOOTTIME, which lease offers to its users, is a system call and not
// found here.
func checkPure(t *tree) []violation {
	var found []violation
	t.written(func(p *pkg, f *file) {
		if f.test || !matchesAny(pure, p.folder) {
			return
		}
		for _, spec := range f.syntax.Imports {
			if imported := unquote(spec.Path.Value); slices.Contains(impure, imported) && impureFiles[f.path].imported != imported {
				found = append(found, f.violation(spec, "%s is pure and imports %s", p.folder, imported))
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = append(found, f.violation(n, "%s is pure and starts a goroutine", p.folder))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clockCalls, n.Sel.Name) {
					found = append(found, f.violation(n, "%s is pure and calls time.%s; take the time as an argument", p.folder, n.Sel.Name))
				}
			}
			return true
		})
	})
	return found
}

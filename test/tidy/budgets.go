package tidy

import (
	"fmt"
	"go/ast"
)

// limits are the budgets of what people write. Generated files have none.
type limits struct {
	fileLines     int
	functionLines int
	// testFunctionLines is larger: a test that tells one story from start to
	// end reads better in one piece.
	testFunctionLines int
	packageCodeLines  int // without tests, what is below test/, comments and blank lines
	interfaceMethods  int // besides Close
}

// projectLimits: a package is to have about 1,500 lines; beyond the limit here
// it must be divided.
var projectLimits = limits{
	fileLines: 400, functionLines: 70, testFunctionLines: 120, packageCodeLines: 2000, interfaceMethods: 6,
}

func (l limits) checkFiles(t *tree) []violation {
	var found []violation
	sizes := map[*pkg]int{}
	t.written(func(p *pkg, f *file) {
		if f.lines > l.fileLines {
			found = append(found, violation{f.path, f.lines, fmt.Sprintf("the file has %d lines, the limit is %d; divide it by idea", f.lines, l.fileLines)})
		}
		if !f.test && !matches("test/...", p.folder) {
			sizes[p] += f.codeLines
		}
	})
	for _, p := range t.packages {
		if sizes[p] > l.packageCodeLines {
			found = append(found, p.files[0].violation(p.files[0].syntax.Name,
				"package %s has %d lines of code, the limit is %d; divide it by noun", p.folder, sizes[p], l.packageCodeLines))
		}
	}
	return found
}

// checkFunctions measures functions from the word func to the closing brace.
// A function in a function counts as part of it.
func (l limits) checkFunctions(t *tree) []violation {
	var found []violation
	t.written(func(_ *pkg, f *file) {
		limit := l.functionLines
		if f.test {
			limit = l.testFunctionLines
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			name := "a function value"
			switch fn := n.(type) {
			case *ast.FuncDecl:
				name = fn.Name.Name
			case *ast.FuncLit:
			default:
				return true
			}
			if lines := f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1; lines > limit {
				found = append(found, f.violation(n, "%s has %d lines, the limit is %d", name, lines, limit))
			}
			return false
		})
	})
	return found
}

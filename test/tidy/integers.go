package tidy

import (
	"go/ast"
	"strings"
)

// integers are the names of bare integer types, each with the one it is an
// alias of.
var integers = map[string]string{
	"int": "int", "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
	"uint": "uint", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
	"uintptr": "uintptr", "byte": "uint8", "rune": "int32",
}

// foreignMethods have their parameters from an interface that is not ours. The
// key is the method's name and its parameter types.
var foreignMethods = map[string]string{
	"Entries(uint64, uint64, uint64)": "raft.Storage",
	"Less(int, int)":                  "sort.Interface",
	"Swap(int, int)":                  "sort.Interface",
}

// checkIntegers finds functions and methods that take two bare integers of one
// type, which a caller can swap without the compiler seeing it. Function
// values are free, as their shape is that of whom they are given to, and so is
// what stands in _test.go files.
func checkIntegers(t *tree) []violation {
	var found []violation
	check := func(f *file, at ast.Node, name string, method bool, fn *ast.FuncType) {
		types, twice := parameterTypes(fn)
		signature := name + "(" + strings.Join(types, ", ") + ")"
		if twice == "" || method && foreignMethods[signature] != "" {
			return
		}
		found = append(found, f.violation(at, "%s takes two bare %s; give one of them a type of its own", signature, twice))
	}
	t.written(func(_ *pkg, f *file) {
		if f.test {
			return
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				check(f, n, n.Name.Name, n.Recv != nil, n.Type)
			case *ast.InterfaceType:
				for _, m := range n.Methods.List {
					if fn, ok := m.Type.(*ast.FuncType); ok {
						check(f, m, m.Names[0].Name, true, fn)
					}
				}
			}
			return true
		})
	})
	return found
}

// parameterTypes lists the types of the parameters, "…" for what is no name,
// and the first bare integer type that occurs twice.
func parameterTypes(fn *ast.FuncType) (types []string, twice string) {
	seen := map[string]int{}
	for _, field := range fn.Params.List {
		name := "…"
		if ident, ok := field.Type.(*ast.Ident); ok {
			name = ident.Name
		}
		for range max(len(field.Names), 1) {
			types = append(types, name)
			if bare := integers[name]; bare != "" {
				seen[bare]++
				if seen[bare] == 2 && twice == "" {
					twice = name
				}
			}
		}
	}
	return types, twice
}

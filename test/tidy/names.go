package tidy

import (
	"go/ast"
	"path"
	"slices"
	"strings"
)

// emptyNames say nothing about what a package holds.
var emptyNames = []string{"util", "utils", "common", "types", "helper", "helpers", "misc", "shared"}

// checkNames refuses packages whose names say nothing, exported names that
// repeat their package's (lease.LeaseHolder), and the word epoch, which here
// could be any of three kinds of term.
func checkNames(t *tree) []violation {
	var found []violation
	t.written(func(p *pkg, f *file) {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if slices.Contains(emptyNames, name) || slices.Contains(emptyNames, path.Base(p.folder)) {
			found = append(found, f.violation(f.syntax.Name, "a package called %s; name it by what it holds", name))
		}
		for _, declared := range topLevelNames(f.syntax) {
			if rest, ok := cutPrefixFold(declared.Name, name); ok && declared.IsExported() && !f.test && startsUpper(rest) {
				found = append(found, f.violation(declared, "%s.%s stutters", name, declared.Name))
			}
			if strings.Contains(strings.ToLower(declared.Name), "epoch") {
				found = append(found, f.violation(declared, "%s: say compute term, raft term or appointment", declared.Name))
			}
		}
	})
	return found
}

func topLevelNames(f *ast.File) []*ast.Ident {
	var names []*ast.Ident
	for _, declaration := range f.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name)
				case *ast.ValueSpec:
					names = append(names, s.Names...)
				}
			}
		}
	}
	return names
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func startsUpper(s string) bool { return s[0] >= 'A' && s[0] <= 'Z' }

package tidy

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkPackageComments wants one package comment in each package, which says
// more than the name.
func checkPackageComments(t *tree) []violation {
	var found []violation
	for _, p := range t.packages {
		var said []*file
		for _, f := range p.files {
			if f.syntax.Doc != nil && !f.generated {
				said = append(said, f)
			}
		}
		first := p.files[0]
		switch {
		case len(said) == 0:
			found = append(found, first.violation(first.syntax.Name, "package %s has no package comment", p.folder))
		case len(said) > 1:
			found = append(found, said[1].violation(said[1].syntax.Name, "package %s has a second package comment, beside the one in %s", p.folder, said[0].path))
		default:
			name := strings.TrimSuffix(said[0].syntax.Name.Name, "_test")
			want := "Package " + name + " "
			if name == "main" {
				want = "Command "
			}
			if text := said[0].syntax.Doc.Text(); !strings.HasPrefix(text, want) || tooShort(text) {
				found = append(found, said[0].violation(said[0].syntax.Name, "the package comment of %s does not begin with %q, or says nothing more", p.folder, strings.TrimSpace(want)))
			}
		}
	}
	return found
}

// checkComments wants a comment on each exported name: functions, methods of
// exported types, types, and constants and variables, where that of their
// group will do.
func checkComments(t *tree) []violation {
	var found []violation
	t.written(func(_ *pkg, f *file) {
		if f.test {
			return
		}
		missing := func(name *ast.Ident, kind string, docs ...*ast.CommentGroup) {
			if !name.IsExported() {
				return
			}
			for _, doc := range docs {
				if doc != nil && !tooShort(doc.Text()) {
					return
				}
			}
			found = append(found, f.violation(name, "%s %s has no comment that says anything", kind, name.Name))
		}
		for _, declaration := range f.syntax.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					missing(d.Name, "function", d.Doc)
				} else if receiver := receiverType(d); receiver == nil || receiver.IsExported() {
					missing(d.Name, "method", d.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						missing(s.Name, "type", typeDoc(d, s), s.Comment)
					case *ast.ValueSpec:
						if groupSaid(d) {
							continue
						}
						for _, name := range s.Names {
							missing(name, d.Tok.String(), s.Doc, s.Comment)
						}
					}
				}
			}
		}
	})
	return found
}

// groupSaid is true when the comment of a declaration speaks for all that it
// declares: in a group two words will do ("The themes."), where names and
// values say the rest.
func groupSaid(d *ast.GenDecl) bool {
	words := len(strings.Fields(d.Doc.Text()))
	return words >= 3 || words == 2 && d.Lparen != token.NoPos
}

// typeDoc is the comment of a type: that of the declaration counts only when it
// declares nothing else.
func typeDoc(d *ast.GenDecl, s *ast.TypeSpec) *ast.CommentGroup {
	if d.Lparen == token.NoPos {
		return d.Doc
	}
	return s.Doc
}

// receiverType is the type's name without pointer and type parameters.
func receiverType(d *ast.FuncDecl) *ast.Ident {
	receiver := d.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr:
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		case *ast.Ident:
			return r
		default:
			return nil
		}
	}
}

// tooShort is true of a comment that only repeats the name.
func tooShort(text string) bool { return len(strings.Fields(text)) < 3 }

package tidy

import (
	"go/ast"
	"path"
)

// checkInterfaces counts the methods of each interface, those of embedded
// interfaces of this project included. An embedded foreign interface counts as
// one. Close and io.Closer are free: whoever holds resources has them.
func (l limits) checkInterfaces(t *tree) []violation {
	declared := map[string]*ast.InterfaceType{} // "folder.Name"
	for _, p := range t.packages {
		for _, f := range p.files {
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					if i, ok := spec.Type.(*ast.InterfaceType); ok {
						declared[p.folder+"."+spec.Name.Name] = i
					}
				}
				return true
			})
		}
	}
	var found []violation
	t.written(func(p *pkg, f *file) {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok {
				if methods := countMethods(declared, p, f, i); methods > l.interfaceMethods {
					found = append(found, f.violation(i, "the interface has %d methods besides Close, the limit is %d; let each user declare what it needs", methods, l.interfaceMethods))
				}
			}
			return true
		})
	})
	return found
}

func countMethods(declared map[string]*ast.InterfaceType, p *pkg, f *file, i *ast.InterfaceType) int {
	methods := 0
	for _, m := range i.Methods.List {
		switch embedded := m.Type.(type) {
		case *ast.FuncType:
			if m.Names[0].Name != "Close" {
				methods++
			}
		case *ast.Ident:
			if own := declared[p.folder+"."+embedded.Name]; own != nil {
				methods += countMethods(declared, p, f, own)
			} else {
				methods++
			}
		case *ast.SelectorExpr:
			if other := declared[folderOf(f, embedded.X)+"."+embedded.Sel.Name]; other != nil {
				methods += countMethods(declared, p, f, other)
			} else if embedded.Sel.Name != "Closer" {
				methods++
			}
		}
	}
	return methods
}

// folderOf is the folder of the package that an expression names in a file, or
// "" when it is not of this project. Packages are called like their folders,
// but for the root.
func folderOf(f *file, name ast.Expr) string {
	ident, ok := name.(*ast.Ident)
	if !ok {
		return ""
	}
	for _, spec := range f.syntax.Imports {
		folder, ours := ownFolder(spec.Path.Value)
		called := path.Base(unquote(spec.Path.Value))
		if spec.Name != nil {
			called = spec.Name.Name
		}
		if ours && called == ident.Name {
			return folder
		}
	}
	return ""
}

package tidy

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// module is the import path of the root package.
const module = "github.com/pinetree-db/pinetree"

// A tree is a project as text: every Go file parsed, every page listed.
type tree struct {
	root     string // folder on disk
	packages []*pkg // in order of their folders
	pages    []page // *.md
}

// A pkg is a folder with Go files. Folder is relative to the root, with
// slashes; the root's own is ".".
type pkg struct {
	folder string
	files  []*file
}

type file struct {
	path      string // relative to the root
	test      bool   // the name ends in _test.go
	generated bool
	lines     int
	codeLines int // lines that are not blank and not comment only
	fset      *token.FileSet
	syntax    *ast.File
}

type page struct {
	path string
	text string
}

// A violation is one place that breaks a rule.
type violation struct {
	path    string
	line    int
	message string
}

func (v violation) String() string { return fmt.Sprintf("%s:%d: %s", v.path, v.line, v.message) }

func (f *file) violation(at ast.Node, format string, args ...any) violation {
	return violation{path: f.path, line: f.fset.Position(at.Pos()).Line, message: fmt.Sprintf(format, args...)}
}

// loadTree reads a project. Folders that the go command ignores are left out,
// and so is every folder that is a module of its own.
func loadTree(root string) (*tree, error) {
	t := &tree{root: root}
	byFolder := map[string]*pkg{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		switch {
		case entry.IsDir():
			if relative != "." && ignoredFolder(name, entry.Name()) {
				return filepath.SkipDir
			}
		case strings.HasSuffix(relative, ".md"):
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			t.pages = append(t.pages, page{path: relative, text: string(text)})
		case strings.HasSuffix(relative, ".go"):
			f, err := loadFile(name, relative)
			if err != nil {
				return err
			}
			folder := path.Dir(relative)
			if byFolder[folder] == nil {
				byFolder[folder] = &pkg{folder: folder}
				t.packages = append(t.packages, byFolder[folder])
			}
			byFolder[folder].files = append(byFolder[folder].files, f)
		}
		return nil
	})
	slices.SortFunc(t.packages, func(a, b *pkg) int { return cmp.Compare(a.folder, b.folder) })
	return t, err
}

func ignoredFolder(folder, name string) bool {
	if name == "testdata" || name == "vendor" || name == "bin" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

func loadFile(name, relative string) (*file, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("%s does not parse: %w", relative, err)
	}
	return &file{
		path:      relative,
		test:      strings.HasSuffix(relative, "_test.go"),
		generated: ast.IsGenerated(syntax),
		lines:     bytes.Count(text, []byte("\n")),
		codeLines: countCode(text),
		fset:      fset,
		syntax:    syntax,
	}, nil
}

func countCode(text []byte) int {
	lines := 0
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) {
			lines++
		}
	}
	return lines
}

// written calls fn with each file that people write, which is what budgets and
// comments are about.
func (t *tree) written(fn func(*pkg, *file)) {
	for _, p := range t.packages {
		for _, f := range p.files {
			if !f.generated {
				fn(p, f)
			}
		}
	}
}

// matches tells whether a folder is meant by a pattern: the folder itself, or
// with a trailing "/*" a folder directly below, or with a trailing "/..." the
// folder and all below it.
func matches(pattern, folder string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == parent || strings.HasPrefix(folder, parent+"/")
	}
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		return path.Dir(folder) == parent && folder != parent
	}
	return pattern == folder
}

func matchesAny(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, folder) })
}

package tidy

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile("(?m)^#{1,6} +(.+)$")
	fencePattern   = regexp.MustCompile("(?ms)^```.*?^```")
	codePattern    = regexp.MustCompile("`[^`\n]*`")
)

// checkLinks wants the target of each relative link of a page to exist, the
// heading that it names included.
func checkLinks(t *tree) []violation {
	var found []violation
	for _, p := range t.pages {
		text := blank(codePattern, blank(fencePattern, p.text))
		for _, at := range linkPattern.FindAllStringSubmatchIndex(text, -1) {
			target := text[at[2]:at[3]]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if why := t.refuseLink(p, target); why != "" {
				found = append(found, violation{p.path, lineAt(text, at[2]), fmt.Sprintf("link to %s: %s", target, why)})
			}
		}
	}
	return found
}

func (t *tree) refuseLink(from page, target string) string {
	name, heading, _ := strings.Cut(target, "#")
	to := from.path
	if name != "" {
		to = path.Join(path.Dir(from.path), name)
		if _, err := os.Stat(filepath.Join(t.root, filepath.FromSlash(to))); err != nil {
			return "there is no such file"
		}
	}
	if heading == "" || !strings.HasSuffix(to, ".md") {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(t.root, filepath.FromSlash(to)))
	if err != nil {
		return err.Error()
	}
	for _, h := range headingPattern.FindAllStringSubmatch(blank(fencePattern, string(text)), -1) {
		if anchor(h[1]) == heading {
			return ""
		}
	}
	return "the page has no such heading"
}

// anchor is the fragment that a heading gets when the page is shown.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

// blank overwrites what matches with spaces and keeps the lines.
func blank(pattern *regexp.Regexp, text string) string {
	return pattern.ReplaceAllStringFunc(text, func(match string) string {
		return strings.Map(func(r rune) rune {
			if r == '\n' {
				return r
			}
			return ' '
		}, match)
	})
}

func lineAt(text string, offset int) int { return 1 + strings.Count(text[:offset], "\n") }

// architecture is the page that follows one record through the code, and
// minReferences how many places it must name at least: one for each step.
const (
	architecture  = "ARCHITECTURE.md"
	minReferences = 12
)

// referencePattern is a place in the code: "folder/file.go: Type.Method", or
// ": Name" for a function, type, constant or variable. Several names may follow,
// divided by commas.
var referencePattern = regexp.MustCompile("([a-z0-9_./]+\\.go)`?: ?`?([A-Za-z_][A-Za-z0-9_.]*(?:, [A-Za-z_][A-Za-z0-9_.]*)*)")

// checkArchitecture wants each place that the page names to be there.
func checkArchitecture(t *tree) []violation {
	var text string
	for _, p := range t.pages {
		if p.path == architecture {
			text = p.text
		}
	}
	declared := map[string]map[string]bool{}
	for _, p := range t.packages {
		for _, f := range p.files {
			declared[f.path] = declaredNames(f.syntax)
		}
	}
	var found []violation
	references := 0
	for _, at := range referencePattern.FindAllStringSubmatchIndex(text, -1) {
		line, file := lineAt(text, at[0]), text[at[2]:at[3]]
		for name := range strings.SplitSeq(text[at[4]:at[5]], ", ") {
			references++
			name = strings.TrimRight(name, ".")
			switch names := declared[file]; {
			case names == nil:
				found = append(found, violation{architecture, line, "there is no file " + file})
			case !names[name]:
				found = append(found, violation{architecture, line, file + " declares no " + name})
			}
		}
	}
	if references < minReferences {
		found = append(found, violation{architecture, 1, fmt.Sprintf("the page names %d places as `folder/file.go: Name`, at least %d are the path of a record", references, minReferences)})
	}
	return found
}

// declaredNames are the top-level names of a file, methods and the methods of
// interfaces as Type.Method.
func declaredNames(f *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, name := range topLevelNames(f) {
		names[name.Name] = true
	}
	for _, declaration := range f.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				continue
			}
			if receiver := receiverType(d); receiver != nil {
				names[receiver.Name+"."+d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				addMethods(names, spec)
			}
		}
	}
	return names
}

func addMethods(names map[string]bool, spec ast.Spec) {
	s, ok := spec.(*ast.TypeSpec)
	if !ok {
		return
	}
	i, ok := s.Type.(*ast.InterfaceType)
	if !ok {
		return
	}
	for _, m := range i.Methods.List {
		for _, name := range m.Names {
			names[s.Name.Name+"."+name.Name] = true
		}
	}
}

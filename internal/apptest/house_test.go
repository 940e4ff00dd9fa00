package apptest_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the package of the nouns; packages are named by their folders.
const root = "."

// arrows says which packages of ours each one may import: the map of the
// house. Arrows point in, towards the nouns, siblings never import one another,
// and only app knows the store and its users together. A package that is not
// named here has no place yet: give it one, in the architecture page too.
var arrows = map[string][]string{
	root:                   {},
	"webhook":              {},
	"webhook/sqlinbox":     {"webhook"},
	"client":               {root},
	"internal/store":       {root, "internal/sqlitelog"},
	"internal/sqlitelog":   {},
	"internal/egress":      {root},
	"internal/auth":        {root},
	"internal/localca":     {root},
	"internal/wallet":      {root},
	"internal/qrcode":      {},
	"internal/site":        {},
	"internal/eventstream": {},
	"docs":                 {}, // texts that the site shows
	"deploy":               {},
	"examples":             {},
	"internal/issuer":      {root, "internal/qrcode"},
	"internal/server":      {root, "internal/eventstream"},
	"internal/console":     {root, "internal/eventstream", "internal/qrcode"},
	"internal/delivery":    {root, "webhook"},
	"internal/app": {root, "deploy", "docs", "examples", "internal/auth", "internal/console", "internal/delivery",
		"internal/egress", "internal/issuer", "internal/server", "internal/site", "internal/store"},
	"internal/bench": {root, "client", "webhook", "internal/localca", "internal/wallet"},
	"cmd/tidings": {root, "client", "webhook", "internal/app", "internal/auth", "internal/bench",
		"internal/egress", "internal/issuer", "internal/localca", "internal/store", "internal/wallet"},
	"examples/go":      {"webhook", "webhook/sqlinbox"},
	"scripts/capacity": {}, // tools of the repository
	"scripts/rename":   {},
	"scripts/testrun":  {},
}

// forTests are packages for tests: they may know all, and nobody else may know them.
var forTests = []string{"internal/apptest", "internal/foreign", "internal/pgtest", "webhook/internal/inboxtest"}

// standardOnly are packages that import nothing but the standard library.
var standardOnly = []string{root, "webhook", "webhook/sqlinbox"}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports         []string
	TestGoFiles     []string
	XTestGoFiles    []string

	Folder        string   // its name here
	ours, foreign []string // what it imports, but for the standard library
}

func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return out
}

// packages gives all packages of ours, named by their folders, as are those of
// ours that they import.
func packages(t *testing.T) (all []goPackage) {
	t.Helper()
	module := string(bytes.TrimSpace(goList(t, "-m")))
	folder := func(path string) string {
		if path == module {
			return root
		}
		return strings.TrimPrefix(path, module+"/")
	}
	out := goList(t, "-json=ImportPath,Dir,GoFiles,Imports,TestGoFiles,XTestGoFiles", module+"/...")
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.Folder = folder(p.ImportPath)
		for _, i := range p.Imports {
			switch first, _, _ := strings.Cut(i, "/"); {
			case i == module || strings.HasPrefix(i, module+"/"):
				p.ours = append(p.ours, folder(i))
			case strings.Contains(first, "."):
				p.foreign = append(p.foreign, i)
			}
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages found", len(all))
	}
	return all
}

func TestImportsFollowTheMap(t *testing.T) {
	for _, p := range packages(t) {
		allowed, known := arrows[p.Folder]
		if !known && !slices.Contains(forTests, p.Folder) {
			t.Errorf("%s has no place in the map", p.Folder)
		}
		for _, i := range p.ours {
			if known && (!slices.Contains(allowed, i) || slices.Contains(forTests, i)) {
				t.Errorf("%s must not import %s", p.Folder, i)
			}
		}
		if len(p.foreign) > 0 && slices.Contains(standardOnly, p.Folder) {
			t.Errorf("%s must import nothing but the standard library, not %v", p.Folder, p.foreign)
		}
	}
}

const (
	longestFunction = 100 // lines; 60 are usual
	longestFile     = 500
)

// excused are functions over the limit, each with its reason.
var excused = map[string]string{}

func TestSizesAndComments(t *testing.T) {
	for _, p := range packages(t) {
		documented := len(p.GoFiles) == 0
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			set := token.NewFileSet()
			path := filepath.Join(p.Dir, name)
			file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if n := set.File(file.Pos()).LineCount(); n > longestFile {
				t.Errorf("%s/%s has %d lines, more than %d", p.Folder, name, n, longestFile)
			}
			documented = documented || file.Doc != nil
			for _, d := range file.Decls {
				checkSize(t, set, p.Folder, d)
				if !strings.HasSuffix(name, "_test.go") {
					checkComments(t, set, d)
				}
			}
		}
		if !documented {
			t.Errorf("package %s has no comment", p.Folder)
		}
	}
}

func checkSize(t *testing.T, set *token.FileSet, pkg string, d ast.Decl) {
	f, ok := d.(*ast.FuncDecl)
	if !ok {
		return
	}
	lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1
	if name := pkg + "." + f.Name.Name; lines > longestFunction && excused[name] == "" {
		t.Errorf("%s: %s has %d lines, more than %d", set.Position(f.Pos()), name, lines, longestFunction)
	}
}

// checkComments wants a comment at every exported name. In a block of names,
// one at the block is enough, or one behind the name.
func checkComments(t *testing.T, set *token.FileSet, d ast.Decl) {
	missing := func(n *ast.Ident) {
		t.Errorf("%s: %s has no comment", set.Position(n.Pos()), n.Name)
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && !hiddenMethod(d) {
			missing(d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					missing(s.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						missing(n)
					}
				}
			}
		}
	}
}

// hiddenMethod tells whether a method belongs to a type that is not exported:
// then it stands there for an interface, which says what it does.
func hiddenMethod(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return false
	}
	receiver := f.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr:
			receiver = r.X
		case *ast.Ident:
			return !r.IsExported()
		default:
			return false
		}
	}
}

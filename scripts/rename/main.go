// Command rename gives the module another path: in go.mod, in every import and
// wherever else a Go file names one of its packages, and in the documents.
//
//	go run ./scripts/rename [-dir .] example.com/you/tidings
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	dir := flag.String("dir", ".", "the module's folder")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: rename [-dir .] MODULE")
		os.Exit(2)
	}
	if err := rename(*dir, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
}

// rename changes the path of the module in dir to path.
func rename(dir, path string) error {
	r := renamer{dir: dir, to: path}
	var err error
	if r.from, err = modulePath(dir); err != nil {
		return err
	}
	if r.from == path {
		return nil
	}
	if _, err := goCommand(dir, "mod", "edit", "-module="+path); err != nil { // it refuses what is no path
		return err
	}
	return filepath.WalkDir(dir, r.visit)
}

func modulePath(dir string) (string, error) {
	out, err := goCommand(dir, "mod", "edit", "-json")
	if err != nil {
		return "", err
	}
	var mod struct{ Module struct{ Path string } }
	err = json.Unmarshal(out, &mod)
	return mod.Module.Path, err
}

func goCommand(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}

// skipped are folders that hold nothing of the module.
var skipped = []string{".git", "node_modules", "bin", "tidings-data"}

type renamer struct{ dir, from, to string }

func (r renamer) visit(path string, entry fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case entry.IsDir() && slices.Contains(skipped, entry.Name()):
		return filepath.SkipDir
	case !entry.Type().IsRegular():
		return nil
	}
	var change func([]byte) ([]byte, error)
	switch filepath.Ext(path) {
	case ".go":
		change = r.goFile
	case ".md":
		change = r.document
	default:
		return nil
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed, err := change(old)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if bytes.Equal(old, changed) {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	return os.WriteFile(path, changed, info.Mode().Perm())
}

// goFile renames imports, and strings that are the path of a package. The
// module's own name is changed in imports only: elsewhere it is just a word.
func (r renamer) goFile(src []byte) ([]byte, error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "", src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	imports := map[*ast.BasicLit]bool{}
	for _, spec := range f.Imports {
		imports[spec.Path] = true
	}
	var out []byte
	done := 0
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		value, err := strconv.Unquote(lit.Value)
		if err != nil || !r.names(value, imports[lit]) {
			return true
		}
		at := files.Position(lit.Pos()).Offset
		out = append(out, src[done:at]...)
		out = strconv.AppendQuote(out, r.to+strings.TrimPrefix(value, r.from))
		done = at + len(lit.Value)
		return true
	})
	if done == 0 {
		return src, nil
	}
	return format.Source(append(out, src[done:]...)) // the imports' order may have changed
}

// names tells whether text names the module or a package of it.
func (r renamer) names(text string, imported bool) bool {
	below, ok := strings.CutPrefix(text, r.from+"/")
	if imported {
		return ok || text == r.from
	}
	if !ok || !filepath.IsLocal(below) {
		return false
	}
	info, err := os.Stat(filepath.Join(r.dir, below))
	return err == nil && info.IsDir()
}

// document renames the imports in examples.
func (r renamer) document(text []byte) ([]byte, error) {
	return bytes.ReplaceAll(text, []byte(`"`+r.from+`/`), []byte(`"`+r.to+`/`)), nil
}

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestACopyOfTheTreeBuildsUnderAnotherName renames a copy of this repository
// and has it built, with its tests.
func TestACopyOfTheTreeBuildsUnderAnotherName(t *testing.T) {
	dir := copyTree(t, filepath.Join("..", ".."))
	const to = "example.com/somebody/tidings"
	if err := rename(dir, to); err != nil {
		t.Fatal(err)
	}
	if got, err := modulePath(dir); err != nil || got != to {
		t.Fatalf("the module is %q, %v", got, err)
	}
	// vet type-checks the packages and their tests.
	for _, args := range [][]string{{"build", "-o", os.DevNull, "./..."}, {"vet", "./..."}} {
		if _, err := goCommand(dir, args...); err != nil {
			t.Error(err)
		}
	}
}

func TestGoFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "internal", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	const src = `package a

import (
	"fmt"

	"github.com/x/y"
	"tidings"
	w "tidings/internal/b"
)

// Says "tidings/internal/b".
var texts = []string{"tidings", "tidings/internal/b", "tidings/1.0", "tidings-data", fmt.Sprint(y.A, tidings.B, w.C)}
`
	const want = `package a

import (
	"fmt"

	"a.example/t"
	w "a.example/t/internal/b"
	"github.com/x/y"
)

// Says "tidings/internal/b".
var texts = []string{"tidings", "a.example/t/internal/b", "tidings/1.0", "tidings-data", fmt.Sprint(y.A, tidings.B, w.C)}
`
	got, err := renamer{dir: dir, from: "tidings", to: "a.example/t"}.goFile([]byte(src))
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestANameThatIsNoneIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module tidings\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rename(dir, "no path"); err == nil || !strings.Contains(err.Error(), "no path") {
		t.Errorf("error %v", err)
	}
}

// copyTree copies what a build needs: Go files, what they embed, go.mod.
func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains(skipped, entry.Name()) {
			return filepath.SkipDir
		}
		below, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, below), 0o700)
		case !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, below), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

package foreign

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"tidings/internal/apptest"
)

// builds are the programs that were built, which the end of the tests removes.
var builds struct {
	mu    sync.Mutex
	paths []string
}

// buildModule builds the program of a module of its own, without cgo.
func buildModule(folder string) (string, error) {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("tidings-%s-%d", folder, os.Getpid()))
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir, build.Env = folder, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", folder, err, out)
	}
	builds.mu.Lock()
	defer builds.mu.Unlock()
	builds.paths = append(builds.paths, path)
	return path, nil
}

func TestMain(m *testing.M) {
	code := apptest.Main(m)
	for _, path := range builds.paths {
		os.Remove(path)
	}
	os.Exit(code)
}

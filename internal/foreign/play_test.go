package foreign

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/localca"
)

// playScore is what tidings play says of a receiver.
type playScore struct {
	Right, Of int
	Cases     []struct {
		Name  string
		Right bool
	}
}

// The mission's program drops duplicates and answers at once, but verifies
// nothing: just that is found.
func TestTheMissionsProgramIsScored(t *testing.T) {
	t.Parallel()
	ca, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	if w.files, err = ca.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	m := startMission(w)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(apptest.Binary(t, false), "play", m.url, "--ca", w.files.CA, "-o", "json")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("play ends with %v:\n%s", err, stderr.String())
	}
	var score playScore
	if err := json.Unmarshal(stdout.Bytes(), &score); err != nil {
		t.Fatal(err)
	}
	var wrong []string
	for _, c := range score.Cases {
		if !c.Right {
			wrong = append(wrong, c.Name)
		}
	}
	want := []string{"no signature", "tampered body", "signature of another secret", "stale timestamp", "timestamp from the future"}
	if !slices.Equal(wrong, want) || score.Right != 11 || score.Of != 16 {
		t.Errorf("%d of %d right, wrong in %q, want %q", score.Right, score.Of, wrong, want)
	}
}

package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidings/internal/apptest"
	"tidings/webhook"
)

const examples = "../../examples"

// exampleReceiver is a receiver of examples/, which runs.
type exampleReceiver struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *apptest.Log
	url    string
	killed *time.Timer
}

// startExample starts a receiver whose inbox is in folder.
func startExample(t *testing.T, secret webhook.Secret, folder string, command []string) *exampleReceiver {
	t.Helper()
	e := &exampleReceiver{t: t, cmd: exec.Command(command[0], command[1:]...), out: &apptest.Log{}}
	e.cmd.Dir = folder
	e.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "WEBHOOK_SECRET=" + secret.Reveal(), "PORT=0", "INBOX=" + filepath.Join(folder, "inbox")}
	e.cmd.Stdout, e.cmd.Stderr = e.out, e.out
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.killed = time.AfterFunc(3*programLife, func() { e.cmd.Process.Kill() })
	t.Cleanup(func() {
		if e.cmd.ProcessState == nil {
			e.kill()
		}
		if t.Failed() {
			t.Logf("the receiver printed:\n%s", e.out.String())
		}
	})
	apptest.Await(t, "the receiver listens", func() bool {
		line, _, ended := strings.Cut(e.out.String(), "\n")
		url, listens := strings.CutPrefix(line, "listening on ")
		e.url = url
		return ended && listens
	})
	return e
}

// stop ends the receiver as whoever runs it does.
func (e *exampleReceiver) stop() {
	e.t.Helper()
	defer e.killed.Stop()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		e.t.Fatal(err)
	}
	if err := e.cmd.Wait(); err != nil {
		e.t.Errorf("the receiver ends with %v", err)
	}
}

// kill ends the receiver without a warning.
func (e *exampleReceiver) kill() {
	e.killed.Stop()
	e.cmd.Process.Kill()
	e.cmd.Wait() // it was killed
}

// processed tells how often an event was processed.
func (e *exampleReceiver) processed(id string) int {
	return strings.Count(e.out.String(), "processed "+id+" ")
}

// post posts a genuine webhook and gives the status of the answer.
func (e *exampleReceiver) post(secret webhook.Secret, id string) int {
	e.t.Helper()
	body := []byte(`{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"order-` + id + `"}}`)
	request, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := signer.SetHeaders(request.Header, id, time.Now(), body); err != nil {
		e.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		e.t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// play scores the receiver, which must be right in all, and gives the ids that
// it got more than once.
func (e *exampleReceiver) play(secret webhook.Secret) []string {
	e.t.Helper()
	cmd := exec.Command(apptest.Binary(e.t, false), "play", e.url, "-o", "json")
	cmd.Env = []string{"WEBHOOK_SECRET=" + secret.Reveal()}
	out, err := cmd.Output()
	var score struct {
		Right, Of        int
		SentMoreThanOnce []string
	}
	if err != nil || json.Unmarshal(out, &score) != nil || score.Right != 16 || score.Of != 16 || len(score.SentMoreThanOnce) != 2 {
		e.t.Fatalf("play says %s, %v", out, err)
	}
	return score.SentMoreThanOnce
}

var exampleCommands = map[string]func(t *testing.T) []string{"go": exampleGo, "node": exampleNode, "python": examplePython}

// Every receiver of examples/ is right in all, and drops duplicates after a
// restart, too.
func TestTheExampleReceivers(t *testing.T) {
	for name, command := range exampleCommands {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret, folder, run := webhook.NewSecret(), t.TempDir(), command(t)
			e := startExample(t, secret, folder, run)
			twice := e.play(secret)
			for _, id := range twice {
				apptest.Await(t, "it is processed", func() bool { return e.processed(id) > 0 })
			}
			const before, after = "before-restart", "after-restart"
			if status := e.post(secret, before); status/100 != 2 {
				t.Errorf("the answer is %d", status)
			}
			apptest.Await(t, "it is processed", func() bool { return e.processed(before) > 0 })
			e.stop()
			again := startExample(t, secret, folder, run)
			for _, id := range []string{before, after} {
				if status := again.post(secret, id); status/100 != 2 {
					t.Errorf("the answer to %s is %d", id, status)
				}
			}
			apptest.Await(t, "the new one is processed", func() bool { return again.processed(after) > 0 })
			again.stop()
			for _, id := range append(twice, before, after) {
				if n := e.processed(id) + again.processed(id); n != 1 {
					t.Errorf("%s was processed %d times", id, n)
				}
			}
		})
	}
}

// What a receiver has answered 2xx it processes, even if it is killed at once.
func TestTheExampleReceiversLoseNothing(t *testing.T) {
	for name, command := range exampleCommands {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret, folder, run := webhook.NewSecret(), t.TempDir(), command(t)
			e := startExample(t, secret, folder, run)
			var ids []string
			for n := range 20 {
				ids = append(ids, fmt.Sprintf("kill-%d", n))
				if status := e.post(secret, ids[n]); status/100 != 2 {
					t.Errorf("the answer to %s is %d", ids[n], status)
				}
			}
			e.kill()
			again := startExample(t, secret, folder, run)
			for _, id := range ids {
				apptest.Await(t, id+" is processed", func() bool { return e.processed(id)+again.processed(id) > 0 })
			}
			again.stop()
		})
	}
}

func exampleGo(t *testing.T) []string {
	path := filepath.Join(t.TempDir(), "receiver")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir, build.Env = filepath.Join(examples, "go"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return []string{path}
}

func exampleNode(t *testing.T) []string {
	node, folder := nodeExample(t, "node")
	return []string{node, filepath.Join(folder, "receiver.mjs")}
}

// nodeExample puts an example beside the packages that are installed here, which
// are those that it asks for, and names the Node that runs it.
func nodeExample(t *testing.T, name string) (node, folder string) {
	t.Helper()
	node, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	if node, err = exec.LookPath(node); err != nil {
		t.Fatal(err)
	}
	if node, err = filepath.Abs(node); err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(examples, name))); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	if err := sameVersions(filepath.Join(folder, "package.json"), "package.json"); err != nil {
		t.Error(err)
	}
	here, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	packages := filepath.Join(folder, "node_modules")
	os.RemoveAll(packages) // of somebody who tried the example
	if err := os.Symlink(here, packages); err != nil {
		t.Fatal(err)
	}
	return node, folder
}

// sameVersions checks that all that one package.json asks for is in another.
func sameVersions(asks, has string) error {
	var files [2]struct{ Dependencies map[string]string }
	for i, path := range []string{asks, has} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &files[i]); err != nil {
			return err
		}
	}
	for name, version := range files[0].Dependencies {
		if tried := files[1].Dependencies[name]; tried != version {
			return fmt.Errorf("the example asks for %s %s, and is tried with %q", name, version, tried)
		}
	}
	return nil
}

func examplePython(t *testing.T) []string {
	path, err := filepath.Abs(filepath.Join(examples, "python", "receiver.py"))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"python3", path}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript" // scripts that read as documentation, with the real command

	"tidings/internal/apptest"
	"tidings/internal/localca"
	"tidings/webhook"
)

// TestMain lets scripts run this very binary as tidings.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"tidings": main}) }

// TestScripts runs testdata/*.txtar, each with a server of its own. Besides
// the usual commands there are
//
//	let NAME           sets a variable to what the last command printed
//	await TEXT CMD…    runs a command until it prints what matches TEXT
//	code N CMD…        runs a command that must end with this exit code
//	server stop|start  stops the server, and starts it on the same data
//	answers N…         the local receiver answers its next requests so, then 204
//	received N FILE    waits for so many local answers of 2xx, and writes what came into a file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true, Setup: setUpScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"let": let, "await": await, "code": code, "server": serverCommand, "answers": answers, "received": received,
		},
	})
}

// scriptWorld is what a script can reach.
type scriptWorld struct {
	t     testing.TB
	app   *apptest.App
	local *localReceiver
}

func worldOf(ts *testscript.TestScript) *scriptWorld { return ts.Value("world").(*scriptWorld) }

// newScriptWorld starts a server, a receiver that it can send to, and one that
// only this machine can reach.
func newScriptWorld(t testing.TB, work string) (w *scriptWorld, variables map[string]string) {
	w = &scriptWorld{t: t, app: apptest.New(t), local: newLocalReceiver(t)}
	ca := filepath.Join(work, "ca.pem")
	writeCA(t, w.app.CA, ca)
	receiver := apptest.NewReceiver(t, w.app.CA, func(a http.ResponseWriter, r *http.Request, _ apptest.Received) {
		if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
			a.WriteHeader(status)
		}
	})
	return w, map[string]string{
		"TIDINGS_URL": w.app.URL, "TIDINGS_CLIENT_ID": apptest.ClientID, "TIDINGS_CLIENT_SECRET": apptest.ClientSecret, "TIDINGS_CA": ca,
		"RECEIVER": receiver.URL, "LOCAL": w.local.url, "XDG_STATE_HOME": filepath.Join(work, "state"), "DATA": w.app.Dir, "TZ": "UTC",
	}
}

func writeCA(t testing.TB, ca *localca.CA, path string) {
	dir := t.TempDir()
	files, err := ca.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(files.CA, path); err != nil {
		t.Fatal(err)
	}
}

func setUpScript(env *testscript.Env) error {
	w, variables := newScriptWorld(env.T().(testing.TB), env.WorkDir)
	for name, value := range variables {
		env.Setenv(name, value)
	}
	env.Values["world"] = w
	return nil
}

func let(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	text := regexp.MustCompile("(?m)" + args[0])
	apptest.Await(worldOf(ts).t, strings.Join(args[1:], " ")+" prints "+args[0], func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && text.MatchString(ts.ReadFile("stdout"))
	})
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("the exit code is %d, not %s; stderr:\n%s", got, args[0], ts.ReadFile("stderr"))
	}
}

func serverCommand(ts *testscript.TestScript, _ bool, args []string) {
	app := worldOf(ts).app
	switch args[0] {
	case "stop":
		ts.Check(app.Stop())
	case "start":
		app.Restart()
	default:
		ts.Fatalf("server stop or server start")
	}
}

func answers(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	w.local.mu.Lock()
	defer w.local.mu.Unlock()
	for _, a := range args {
		status, err := strconv.Atoi(a)
		ts.Check(err)
		w.local.answers = append(w.local.answers, status)
	}
}

func received(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	l := worldOf(ts).local
	apptest.Await(worldOf(ts).t, fmt.Sprintf("%d events were taken", n), func() bool { return l.taken() >= n })
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(l.report(ts.MkAbs("listen.json"), ts)), 0o600))
}

// localReceiver is a receiver in development: plain HTTP on loopback.
type localReceiver struct {
	url     string
	mu      sync.Mutex
	answers []int // of the next requests; then 204
	came    []localWebhook
}

type localWebhook struct {
	header http.Header
	body   []byte
	answer int
}

func newLocalReceiver(t testing.TB) *localReceiver {
	l := &localReceiver{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		got := localWebhook{r.Header.Clone(), body, http.StatusNoContent}
		if len(l.answers) > 0 {
			got.answer, l.answers = l.answers[0], l.answers[1:]
		}
		l.came = append(l.came, got)
		w.WriteHeader(got.answer)
	}))
	t.Cleanup(s.Close)
	l.url = s.URL + "/webhooks"
	return l
}

// taken counts the events that were answered with 2xx, duplicates once.
func (l *localReceiver) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := map[string]bool{}
	for _, c := range l.came {
		if c.answer/100 == 2 {
			ids[c.header.Get(webhook.HeaderID)] = true
		}
	}
	return len(ids)
}

// report lists what came since the last report, each verified with the secret
// in the state file.
func (l *localReceiver) report(state string, ts *testscript.TestScript) string {
	var s listenState
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(state)), &s))
	secret, err := webhook.ParseSecret(s.Secret)
	ts.Check(err)
	v := webhook.Verifier{Secrets: []webhook.Secret{secret}}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out bytes.Buffer
	var seen []string
	for _, c := range l.came {
		ts.Check(v.Verify(c.header, c.body))
		e, err := webhook.ParseEvent(c.header.Get(webhook.HeaderID), c.body)
		ts.Check(err)
		again := ""
		if slices.Contains(seen, e.ID) && c.header.Get(webhook.HeaderAttempt) == "1" {
			again = " duplicate"
		}
		seen = append(seen, e.ID)
		fmt.Fprintf(&out, "%s %s attempt %s, answered %d%s\n", e.Type, e.IssuanceID, c.header.Get(webhook.HeaderAttempt), c.answer, again)
	}
	l.came = nil
	return out.String()
}

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript" // scripts that read as documentation, with the real command

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/localca"
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
func newScriptWorld(t testing.TB, work string, options ...apptest.Option) (w *scriptWorld, variables map[string]string) {
	options = append([]apptest.Option{func(c *app.Config) { c.Sandbox = true }}, options...)
	w = &scriptWorld{t: t, app: apptest.New(t, options...), local: newLocalReceiver(t)}
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
		"GORACE": "atexit_sleep_ms=0", // else each command with the race detector ends a second later
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

// Who tries out a receiver against a server that is no sandbox is told so.
func TestSimulatingOutsideOfASandboxIsExplained(t *testing.T) {
	_, variables := newScriptWorld(t, t.TempDir(), func(c *app.Config) { c.Sandbox = false })
	var problem bytes.Buffer
	args := []string{"issuance", "simulate", "c01whv563l1r0h81wz16a83v9", "completed", "--url", variables["TIDINGS_URL"], "--ca", variables["TIDINGS_CA"],
		"--client-id", variables["TIDINGS_CLIENT_ID"], "--client-secret", variables["TIDINGS_CLIENT_SECRET"]}
	if code := run(t.Context(), args, &environment{stdout: io.Discard, stderr: &problem}); code != exitNotFound || !strings.Contains(problem.String(), "--sandbox") {
		t.Errorf("code %d: %s", code, problem.String())
	}
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
	for _, a := range args {
		status, err := strconv.Atoi(a)
		ts.Check(err)
		worldOf(ts).local.refuse(status)
	}
}

func received(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	l := worldOf(ts).local
	apptest.Await(worldOf(ts).t, fmt.Sprintf("%d events were taken", n), func() bool { return l.taken() >= n })
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(l.report(ts.MkAbs("listen.json"), ts)), 0o600))
}

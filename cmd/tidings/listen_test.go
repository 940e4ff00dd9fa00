package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"tidings/internal/apptest"
)

// startListener runs tidings listen until the returned function ends it as
// Ctrl-C does, and fails the test unless that is clean.
func startListener(t *testing.T, variables map[string]string, state string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var out, log bytes.Buffer
	ended := make(chan int, 1)
	args := []string{"listen", "--url", variables["TIDINGS_URL"], "--client-id", variables["TIDINGS_CLIENT_ID"], "--client-secret", variables["TIDINGS_CLIENT_SECRET"],
		"--ca", variables["TIDINGS_CA"], "--forward", variables["LOCAL"], "--state", state, "--retry-delays", "1ms,1ms,1ms"}
	go func() { ended <- run(ctx, args, &environment{stdout: &out, stderr: &log}) }()
	return func() {
		t.Helper()
		cancel()
		if code := <-ended; code != exitDone {
			t.Errorf("listen ends with %d:\n%s", code, log.String())
		}
		if strings.Contains(out.String(), "FAILED") {
			t.Errorf("a post failed to the end:\n%s", out.String())
		}
	}
}

// Server and listener are restarted while events are published and the
// receiver refuses some posts. Every event must be taken, in order.
func TestListenMissesNothingOverRestarts(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Run("restarts", func(t *testing.T) {
		dir := t.TempDir()
		w, variables := newScriptWorld(t, dir)
		state := filepath.Join(dir, "listen.json")
		s, err := openState(state)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.moveTo(""); err != nil { // nothing is behind it
			t.Fatal(err)
		}
		s.close()
		stop := startListener(t, variables, state)
		var want []string
		for round := range 8 {
			var batch []apptest.Object
			for i := range 25 {
				id := fmt.Sprintf("round-%d-%d", round, i)
				want = append(want, id)
				batch = append(batch, apptest.Object{"eventType": "openid4vc.issuance.offered", "payload": apptest.Object{"openId4VcIssuanceId": id}})
			}
			w.local.refuse(500, 204, 204, 503, 500)
			w.app.Call("POST", "/events", batch, 202, nil)
			if round%2 == 1 {
				w.app.Restart()
			}
			if round%3 == 1 { // in the middle of posting
				apptest.Await(t, "some events of the round were taken", func() bool { return w.local.taken() > round*25 })
				stop()
				stop = startListener(t, variables, state)
			}
		}
		apptest.Await(t, "every event was taken", func() bool { return w.local.taken() == len(want) })
		stop()
		got, again := w.local.order(t)
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("events arrived as %v", got)
		}
		if again > 3 {
			t.Errorf("%d events were taken twice, more than there were restarts of the listener", again)
		}
	})
	goleak.VerifyNone(t, ignore)
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"tidings/internal/apptest"
)

// startListener runs tidings listen. interrupt is Ctrl-C; wait waits for the
// end and fails the test unless that is clean.
func startListener(t *testing.T, variables map[string]string, state string) (interrupt, wait func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var out, log bytes.Buffer
	ended := make(chan int, 1)
	args := []string{"listen", "--url", variables["TIDINGS_URL"], "--client-id", variables["TIDINGS_CLIENT_ID"], "--client-secret", variables["TIDINGS_CLIENT_SECRET"],
		"--ca", variables["TIDINGS_CA"], "--forward", variables["LOCAL"], "--state", state, "--retry-delays", "1ms,1ms,1ms"}
	go func() { ended <- run(ctx, args, &environment{stdout: &out, stderr: &log}) }()
	return cancel, func() {
		t.Helper()
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
		interrupt, wait := startListener(t, variables, state)
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
				interrupt()
				wait()
				interrupt, wait = startListener(t, variables, state)
			}
		}
		apptest.Await(t, "every event was taken", func() bool { return w.local.taken() == len(want) })
		interrupt()
		wait()
		if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the state, which holds a secret, is %v, %v", info.Mode(), err)
		}
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

// A post that is on its way at Ctrl-C ends, and is not made again.
func TestListenLetsAPostEnd(t *testing.T) {
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir)
	arrived, release := make(chan string), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.Header.Get("webhook-id")
		<-release
	}))
	defer slow.Close()
	variables["LOCAL"] = slow.URL
	state := filepath.Join(dir, "listen.json")
	s, err := openState(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.moveTo(""); err != nil {
		t.Fatal(err)
	}
	s.close()
	id := w.app.Publish("openid4vc.issuance.offered", "order-1")
	interrupt, wait := startListener(t, variables, state)
	if got := <-arrived; got != id {
		t.Errorf("event %s arrived, not %s", got, id)
	}
	interrupt()
	close(release)
	wait()
	if err := s.read(); err != nil || s.Position != id {
		t.Errorf("the position is %q, not %q, %v", s.Position, id, err)
	}
}

// At first use it begins behind what is there, without reading all of that.
func TestListenBeginsAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir)
	far, err := url.Parse(w.app.URL)
	if err != nil {
		t.Fatal(err)
	}
	var streams, lists atomic.Int32
	proxy := httputil.NewSingleHostReverseProxy(far)
	proxy.Transport = w.app.HTTP.Transport
	counting := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/events/stream"):
			streams.Add(1)
		case strings.HasSuffix(r.URL.Path, "/events"):
			lists.Add(1)
		}
		proxy.ServeHTTP(a, r)
	}))
	defer counting.Close()
	variables["TIDINGS_URL"] = counting.URL
	w.app.Publish("openid4vc.issuance.offered", "before")
	interrupt, wait := startListener(t, variables, filepath.Join(dir, "listen.json"))
	apptest.Await(t, "it listens", func() bool { return streams.Load() >= 2 }) // the first told where the feed ends
	var want []string
	for i := range 3 {
		id := fmt.Sprint("order-", i)
		want = append(want, id)
		w.app.Publish("openid4vc.issuance.offered", id)
		apptest.Await(t, "the event was taken", func() bool { return w.local.taken() >= len(want) })
	}
	interrupt()
	wait()
	got, again := w.local.order(t)
	if strings.Join(got, " ") != strings.Join(want, " ") || again > 0 {
		t.Errorf("%d events arrived and %d again, of %d", len(got), again, len(want))
	}
	if n := lists.Load(); n > 0 {
		t.Errorf("the feed was read %d times to find its end", n)
	}
}

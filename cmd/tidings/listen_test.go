package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// startListener runs tidings listen. interrupt is Ctrl-C; wait waits for the
// end and fails the test unless that is clean.
func startListener(t *testing.T, variables map[string]string, state string, flags ...string) (interrupt, wait func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var out, log bytes.Buffer
	ended := make(chan int, 1)
	args := []string{"listen", "--url", variables["TIDINGS_URL"], "--client-id", variables["TIDINGS_CLIENT_ID"], "--client-secret", variables["TIDINGS_CLIENT_SECRET"],
		"--ca", variables["TIDINGS_CA"], "--forward", variables["LOCAL"], "--state", state, "--retry-delays", "1ms,1ms,1ms"}
	args = append(args, flags...)
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

// between stands between a listener and its server, and counts what is asked
// of the feed. A stream is cut off after so many bytes, where cut is not 0.
type between struct {
	streams, lists atomic.Int32
	cut            atomic.Int64
}

// newBetween starts one, and has the listener go through it.
func newBetween(t *testing.T, w *scriptWorld, variables map[string]string) *between {
	t.Helper()
	far, err := url.Parse(w.app.URL)
	if err != nil {
		t.Fatal(err)
	}
	b := &between{}
	proxy := httputil.NewSingleHostReverseProxy(far)
	proxy.Transport = w.app.HTTP.Transport
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ModifyResponse = func(r *http.Response) error {
		if n := b.cut.Load(); n > 0 && strings.HasSuffix(r.Request.URL.Path, "/events/stream") {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r.Body, n), iotest.ErrReader(io.ErrUnexpectedEOF)), r.Body}
		}
		return nil
	}
	s := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/events/stream"):
			b.streams.Add(1)
		case strings.HasSuffix(r.URL.Path, "/events"):
			b.lists.Add(1)
		}
		proxy.ServeHTTP(a, r)
	}))
	t.Cleanup(s.Close)
	variables["TIDINGS_URL"] = s.URL
	return b
}

// At first use it begins behind what is there, without reading all of that.
func TestListenBeginsAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir)
	b := newBetween(t, w, variables)
	w.app.Publish("openid4vc.issuance.offered", "before")
	interrupt, wait := startListener(t, variables, filepath.Join(dir, "listen.json"))
	apptest.Await(t, "it listens", func() bool { return b.streams.Load() >= 2 }) // the first told where the feed ends
	var want []string
	for i := range 3 {
		id := fmt.Sprint("order-", i)
		want = append(want, id)
		w.app.Publish("openid4vc.issuance.offered", id)
		apptest.Await(t, "the event was taken", func() bool { return w.local.taken() >= len(want) })
	}
	interrupt()
	wait()
	w.local.tookOnce(t, want)
	if n := b.lists.Load(); n > 0 {
		t.Errorf("the feed was read %d times to find its end", n)
	}
}

// Who asks for what came since a time, and gets nothing as nothing came, has
// not asked for all that ever came at the next start.
func TestListenKeepsItsPlaceWhereNothingCameSince(t *testing.T) {
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir)
	b := newBetween(t, w, variables)
	state := filepath.Join(dir, "listen.json")
	w.app.Publish("openid4vc.issuance.offered", "before")
	interrupt, wait := startListener(t, variables, state, "--since", "0s")
	apptest.Await(t, "it listens", func() bool { return b.streams.Load()+b.lists.Load() >= 3 })
	interrupt()
	wait()
	w.app.Publish("openid4vc.issuance.offered", "meanwhile")
	interrupt, wait = startListener(t, variables, state)
	apptest.Await(t, "the event was taken", func() bool { return w.local.taken() >= 1 })
	w.app.Publish("openid4vc.issuance.offered", "after")
	apptest.Await(t, "the event was taken", func() bool { return w.local.taken() >= 2 })
	interrupt()
	wait()
	w.local.tookOnce(t, []string{"meanwhile", "after"})
}

// A connection that is cut off in the middle of an event costs nothing but a
// new one.
func TestListenGoesOnOverConnectionsCutOff(t *testing.T) {
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir)
	b := newBetween(t, w, variables)
	w.app.Publish("openid4vc.issuance.offered", "order-0")
	interrupt, wait := startListener(t, variables, filepath.Join(dir, "listen.json"), "--since", "1h")
	apptest.Await(t, "the event was taken", func() bool { return w.local.taken() >= 1 })
	want := []string{"order-0"}
	b.cut.Store(1000) // three events and a half
	before := b.streams.Load()
	w.app.Restart() // ends the stream that is whole
	for i := range 10 {
		id := fmt.Sprint("order-", i+1)
		want = append(want, id)
		w.app.Publish("openid4vc.issuance.offered", id)
	}
	apptest.Await(t, "every event was taken", func() bool { return w.local.taken() == len(want) })
	if n := b.streams.Load() - before; n < 3 {
		t.Errorf("all came over %d streams: none was cut off", n)
	}
	b.cut.Store(0)
	interrupt()
	wait()
	w.local.tookOnce(t, want)
}

// An access token lives for minutes, a listener for days. The server's clock is
// put forward, so that the token ends while the listener still counts on it.
func TestListenGoesOnOverTheEndOfItsToken(t *testing.T) {
	var ahead atomic.Int64
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir, func(c *app.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	given := func() int { return strings.Count(w.app.Logs.String(), `msg="token given out"`) }
	var want []string
	publish := func() {
		id := fmt.Sprint("order-", len(want))
		want = append(want, id)
		w.app.As(apptest.ClientID, apptest.ClientSecret).Publish("openid4vc.issuance.offered", id) // with a token of its own
	}
	publish()
	interrupt, wait := startListener(t, variables, filepath.Join(dir, "listen.json"), "--since", "1h")
	for range 3 {
		apptest.Await(t, "the event was taken", func() bool { return w.local.taken() == len(want) })
		before := given()
		ahead.Add(int64(6 * time.Minute))
		publish()
		apptest.Await(t, "the listener has a new token", func() bool { return given() == before+2 })
		publish()
	}
	apptest.Await(t, "every event was taken", func() bool { return w.local.taken() == len(want) })
	interrupt()
	wait()
	w.local.tookOnce(t, want)
}

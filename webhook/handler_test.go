package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// failingInbox refuses everything.
type failingInbox struct{ err error }

func (f failingInbox) Put(context.Context, Event) (bool, error) { return false, f.err }
func (f failingInbox) Claim(context.Context, time.Time, time.Duration) (*Claim, time.Time, error) {
	return nil, time.Time{}, f.err
}
func (f failingInbox) Settle(context.Context, Claim, Verdict) error { return f.err }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// handlerOf gives a Handler whose clock stands where request() signs.
func handlerOf(secret Secret, in Inbox) *Handler {
	return &Handler{Verifier: &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds), MaxBody: 1000}, Inbox: in, Log: quiet()}
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandlerStores(t *testing.T) {
	secret := NewSecret()
	in := &MemoryInbox{}
	h := handlerOf(secret, in)
	r := request(t, mustSigner(t, secret), eventBody)
	r.Header.Set(HeaderTest, "true")
	for range 3 { // the last two are duplicates
		if w := serve(h, r.Clone(t.Context())); w.Code != http.StatusNoContent || w.Body.Len() > 0 {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		r.Body = io.NopCloser(strings.NewReader(eventBody))
	}
	c, _, err := in.Claim(t.Context(), time.Unix(vectorSeconds, 0), time.Minute)
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	if e := c.Event; e.ID != "e1" || !e.Test || e.Attempt != 2 || !e.Received.Equal(time.Unix(vectorSeconds, 0)) || string(e.Body) != eventBody {
		t.Errorf("%+v", e)
	}
	if c, _, _ := in.Claim(t.Context(), time.Unix(vectorSeconds, 0), time.Minute); c != nil {
		t.Errorf("a duplicate is there as well: %+v", c)
	}
}

func TestHandlerTestFlag(t *testing.T) {
	secret := NewSecret()
	for value, want := range map[string]bool{"true": true, "": false, "false": false, "1": false, "TRUE": false} {
		in := &MemoryInbox{}
		r := request(t, mustSigner(t, secret), eventBody)
		r.Header.Set(HeaderTest, value)
		serve(handlerOf(secret, in), r)
		if c, _, err := in.Claim(t.Context(), time.Now(), time.Minute); err != nil || c == nil || c.Event.Test != want {
			t.Errorf("%q: %+v, %v", value, c, err)
		}
	}
}

// TestHandlerRefuses lists every status; nothing that is refused is stored.
func TestHandlerRefuses(t *testing.T) {
	secret := NewSecret()
	signer := mustSigner(t, secret)
	with := func(change func(*http.Request)) *http.Request {
		r := request(t, signer, eventBody)
		change(r)
		return r
	}
	set := func(name, value string) *http.Request {
		return with(func(r *http.Request) { r.Header.Set(name, value) })
	}
	broken := errors.New("secret of the machine")
	edwards := request(t, withKeys(t, signer, NewSigningKey()), eventBody)
	for name, row := range map[string]struct {
		h      *Handler
		r      *http.Request
		status int
		text   string
	}{
		"GET":            {nil, with(func(r *http.Request) { r.Method = http.MethodGet }), 405, "webhooks are sent by POST"},
		"HEAD":           {nil, with(func(r *http.Request) { r.Method = http.MethodHead }), 405, ""},
		"PUT":            {nil, with(func(r *http.Request) { r.Method = http.MethodPut }), 405, ""},
		"no signature":   {nil, with(func(r *http.Request) { r.Header.Del(HeaderSignature) }), 400, "missing: webhook-signature"},
		"bad id":         {nil, set(HeaderID, "a.b"), 400, `malformed: webhook-id "a.b"`},
		"bad timestamp":  {nil, set(HeaderTimestamp, "now"), 400, "not a Unix time"},
		"old":            {nil, set(HeaderTimestamp, "1614265000"), 401, "too old: it is 5m30s old, at most 5m0s"},
		"new":            {nil, set(HeaderTimestamp, "1614265700"), 401, "in the future"},
		"other secret":   {nil, request(t, mustSigner(t, NewSecret()), eventBody), 401, "no signature matches"},
		"other body":     {nil, with(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{}")) }), 401, "no signature matches"},
		"not an event":   {nil, request(t, signer, `[1]`), 400, "not an event"},
		"too long":       {nil, request(t, signer, strings.Repeat("x", 1001)), 413, "too large"},
		"chunked long":   {nil, with(func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(neverEnding{}), -1 }), 413, "too large"},
		"limit in front": {nil, with(func(r *http.Request) { r.Body = http.MaxBytesReader(nil, r.Body, 10) }), 413, "too large"},
		"cut":            {nil, with(func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(broken)), -1 }), 400, "could not be read"},
		"already read":   {nil, with(func(r *http.Request) { io.Copy(io.Discard, r.Body) }), 500, "already read"},
		"no secret":      {handlerOf(Secret{}, &MemoryInbox{}), with(func(*http.Request) {}), 500, "no signing secret"},
		"inbox down":     {handlerOf(secret, failingInbox{broken}), with(func(*http.Request) {}), 503, "could not be stored: send it again"},
		"inbox full":     {handlerOf(secret, failingInbox{ErrInboxFull}), with(func(*http.Request) {}), 503, "could not be stored: send it again"},
		"keys away":      {withoutKeys(broken), edwards, 503, "public keys could not be fetched: send it again"},
		"no inbox":       {handlerOf(secret, nil), with(func(*http.Request) {}), 500, "not set up"},
		"no verifier":    {&Handler{Inbox: &MemoryInbox{}, Log: quiet()}, with(func(*http.Request) {}), 500, "not set up"},
	} {
		h := row.h
		if h == nil {
			h = handlerOf(secret, &MemoryInbox{})
		}
		expectRefusal(t, name, serve(h, row.r), row.status, row.text, broken.Error())
		if in, ok := h.Inbox.(*MemoryInbox); ok && len(in.entries) > 0 {
			t.Errorf("%s: stored", name)
		}
	}
}

// withoutKeys is a Handler whose sender does not give its public keys.
func withoutKeys(err error) *Handler {
	p := &publisher{}
	p.say(0, "", err)
	return &Handler{Verifier: &Verifier{KeySet: p.keySet(), Now: at(vectorSeconds)}, Inbox: &MemoryInbox{}, Log: quiet()}
}

// expectRefusal: a short plain text that says text and does not say hidden.
func expectRefusal(t *testing.T, name string, w *httptest.ResponseRecorder, status int, text, hidden string) {
	t.Helper()
	body := w.Body.String()
	if w.Code != status || !strings.Contains(body, text) || len(body) > 300 || strings.Contains(body, hidden) {
		t.Errorf("%s: %d %q", name, w.Code, body)
	}
	if kind := w.Header().Get("Content-Type"); kind != "text/plain; charset=utf-8" {
		t.Errorf("%s: content type %q", name, kind)
	}
	if (w.Code == 405) != (w.Header().Get("Allow") == "POST") || (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
		t.Errorf("%s: %v", name, w.Header())
	}
}

// neverEnding is a body without an end.
type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// TestHandlerLogs: what the sender does not hear the log does, and neither
// shows the secret.
func TestHandlerLogs(t *testing.T) {
	secret := NewSecret()
	var out bytes.Buffer
	h := handlerOf(secret, failingInbox{errors.New("disk on fire")})
	h.Log = slog.New(slog.NewTextHandler(&out, nil))
	serve(h, request(t, mustSigner(t, secret), eventBody))
	serve(h, request(t, mustSigner(t, NewSecret()), eventBody))
	serve(&Handler{Log: h.Log}, request(t, mustSigner(t, secret), eventBody))
	fmt.Fprintln(&out, h.Verifier)
	for _, want := range []string{"disk on fire", "event=e1", "status=401", "not set up"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), secret.Reveal()[6:]) {
		t.Error("shows the secret")
	}
}

// TestHandlerStoresBeforeItAnswers: while the inbox is busy, there is no
// answer yet.
func TestHandlerStoresBeforeItAnswers(t *testing.T) {
	secret := NewSecret()
	in := &slowInbox{begun: make(chan struct{}), finish: make(chan struct{})}
	h := handlerOf(secret, in)
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(w, request(t, mustSigner(t, secret), eventBody))
	}()
	<-in.begun
	select {
	case <-done:
		t.Error("answered before the event was stored")
	default:
	}
	close(in.finish)
	<-done
	if w.Code != http.StatusNoContent {
		t.Errorf("%d", w.Code)
	}
}

type slowInbox struct {
	MemoryInbox
	begun, finish chan struct{}
}

func (s *slowInbox) Put(ctx context.Context, event Event) (bool, error) {
	close(s.begun)
	<-s.finish
	return s.MemoryInbox.Put(ctx, event)
}

// TestHandlerSetsReadDeadline: on a real server a body that trickles is given
// a deadline.
func TestHandlerSetsReadDeadline(t *testing.T) {
	secret := NewSecret()
	h := &Handler{Verifier: &Verifier{Secrets: []Secret{secret}}, Inbox: &MemoryInbox{}, Log: quiet()}
	deadlines := make(chan time.Time, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&deadlineWriter{w, deadlines}, r)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	header := signedHeader(t, mustSigner(t, secret), "e1", time.Now().Unix(), eventBody)
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n", len(eventBody))
	if err := header.Write(conn); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "\r\n{") // and then no more
	if until := time.Until(<-deadlines); until <= 0 || until > bodyTimeout {
		t.Errorf("deadline in %s", until)
	}
}

type deadlineWriter struct {
	http.ResponseWriter
	deadlines chan<- time.Time
}

func (d *deadlineWriter) SetReadDeadline(at time.Time) error {
	d.deadlines <- at
	return http.NewResponseController(d.ResponseWriter).SetReadDeadline(at)
}

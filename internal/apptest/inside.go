package apptest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"tidings/internal/app"
)

// Clock is a time that only moves when it is told to.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now gives the time, in whole milliseconds as the store keeps them.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Inside is a whole server on the real database that is asked without a network,
// so that thousands of requests cost little. Nothing in it works by itself: its
// clock is the test's, and deadlines are applied when the test says so.
type Inside struct {
	*API
	Clock *Clock
	Logs  *Log

	t        testing.TB
	cfg      app.Config
	app      *app.App
	tokenAge time.Duration // at least that of the API's access token
}

// NewInside opens a server. It is closed at the end of the test.
func NewInside(t testing.TB, options ...Option) *Inside {
	t.Helper()
	i := &Inside{Clock: &Clock{now: time.Date(2026, 3, 5, 16, 30, 12, 345e6, time.UTC)}, Logs: &Log{}, t: t, cfg: app.Default()}
	i.cfg.Listen, i.cfg.Data, i.cfg.PublicURL = "127.0.0.1:0", quickDir(t), "https://issuer.example"
	i.cfg.Database = Database(t, i.cfg.Data)
	i.cfg.ClientID, i.cfg.ClientSecret = ClientID, ClientSecret
	i.cfg.Now, i.cfg.TrustClock, i.cfg.Retention = i.Clock.Now, true, 0
	i.cfg.Log = slog.New(slog.NewTextHandler(i.Logs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, o := range options {
		o(&i.cfg)
	}
	i.API = &API{URL: i.cfg.PublicURL, HTTP: &http.Client{Transport: i}, t: t}
	i.open()
	t.Cleanup(i.close)
	return i
}

// quickDir gives a folder in memory where the system has one: syncing to a disk
// a hundred thousand times shows nothing that once does not.
func quickDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tidings-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// RoundTrip hands a request to the server.
func (i *Inside) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	i.app.Handler().ServeHTTP(w, r)
	return w.Result(), nil
}

// Restart closes the server and opens it again on the same data.
func (i *Inside) Restart() {
	i.t.Helper()
	i.close()
	i.open()
}

// Advance moves the clock on, for the server and for the access to its API.
func (i *Inside) Advance(d time.Duration) {
	i.Clock.Advance(d)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tokenAge += d; i.tokenAge > tokenUse {
		i.token, i.tokenAge = "", 0
	}
}

// Sweep applies all deadlines that have passed.
func (i *Inside) Sweep() {
	i.t.Helper()
	for range 1000 {
		if swept, _, err := i.app.Store.SweepDeadlines(context.Background(), 1000); err != nil {
			i.t.Fatal(err)
		} else if swept == 0 {
			return
		}
	}
	i.t.Fatal("sweeping does not come to an end: a deadline is passed, and nothing happens")
}

// DeleteClaims deletes the claims that are kept for too long.
func (i *Inside) DeleteClaims() {
	i.t.Helper()
	for deleted := 1; deleted > 0; {
		var err error
		if deleted, err = i.app.Store.DeleteClaims(context.Background(), 1000); err != nil {
			i.t.Fatal(err)
		}
	}
}

// Check proves the store's invariants.
func (i *Inside) Check() {
	i.t.Helper()
	breaches, err := i.app.Store.Check(context.Background(), 10)
	if err != nil {
		i.t.Fatal(err)
	}
	for _, b := range breaches {
		i.t.Error(b)
	}
}

func (i *Inside) open() {
	i.t.Helper()
	var err error
	if i.app, err = app.New(context.Background(), i.cfg); err != nil {
		i.t.Fatal(err)
	}
}

// close runs the server for no time at all: its end closes what it holds.
func (i *Inside) close() {
	ended, end := context.WithCancel(context.Background())
	end()
	if err := i.app.Run(ended); err != nil {
		i.t.Errorf("closing the server: %v", err)
	}
}

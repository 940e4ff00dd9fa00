// Package apptest is for tests only: a whole server on loopback with real TLS
// and a real database, receivers that can misbehave, and the built binary as a
// process that can be killed.
package apptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/localca"
)

// The client that every server under test knows.
const (
	ClientID     = "test-client"
	ClientSecret = "test-client-secret-0123456789"
)

// API is a server as its users see it.
type API struct {
	URL  string
	HTTP *http.Client

	t      testing.TB
	mu     sync.Mutex
	token  string
	asked  time.Time // when the token was given
	client [2]string // id and secret; default: the client that every server knows
}

// App is a server in the test's own process.
type App struct {
	*API
	CA   *localca.CA
	Dir  string // its data folder
	Logs *Log

	t    testing.TB
	cfg  app.Config
	stop func() error
}

// Option changes the configuration of a server under test.
type Option func(*app.Config)

// New starts a server with a CA of its own that it trusts for receivers, and
// with loopback allowed for webhooks. It is stopped at the end of the test.
func New(t testing.TB, options ...Option) *App {
	t.Helper()
	ca, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	a := &App{CA: ca, Dir: t.TempDir(), Logs: &Log{}, t: t}
	files, err := ca.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a.cfg = app.Default()
	a.cfg.Listen, a.cfg.Data, a.cfg.Database = "127.0.0.1:0", a.Dir, Database(t, a.Dir)
	a.cfg.TLSCert, a.cfg.TLSKey = files.Cert, files.Key
	a.cfg.EgressAllow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	a.cfg.EgressRoots = ca.Pool()
	a.cfg.ClientID, a.cfg.ClientSecret = ClientID, ClientSecret
	a.cfg.TrustClock = true // it may be the test's
	a.cfg.Log = slog.New(slog.NewTextHandler(a.Logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, o := range options {
		o(&a.cfg)
	}
	a.start()
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	return a
}

func (a *App) start() {
	a.t.Helper()
	running, err := app.New(context.Background(), a.cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- running.Run(ctx) }()
	a.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	a.cfg.Listen = strings.TrimPrefix(running.URL, "https://")
	a.API = NewAPI(a.t, running.URL, a.CA)
}

// Stop drains and stops the server, as SIGTERM does.
func (a *App) Stop() error { return a.stop() }

// Restart stops the server and starts it again on the same data and address.
func (a *App) Restart() {
	a.t.Helper()
	if err := a.Stop(); err != nil {
		a.t.Fatal(err)
	}
	a.start()
}

// NewAPI gives access to a server that has a certificate of ca.
func NewAPI(t testing.TB, url string, ca *localca.CA) *API {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &API{URL: url, HTTP: &http.Client{Transport: transport, Timeout: 30 * time.Second}, t: t}
}

// Token gives an access token of the test's client.
func (a *API) Token() string {
	a.t.Helper()
	token, err := a.accessToken()
	if err != nil {
		a.t.Fatal(err)
	}
	return token
}

// tokenUse is for how long a token is used: less than it lives.
const tokenUse = 3 * time.Minute

func (a *API) accessToken() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Since(a.asked) < tokenUse {
		return a.token, nil
	}
	id, secret := a.client[0], a.client[1]
	if id == "" {
		id, secret = ClientID, ClientSecret
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	asked := time.Now()
	answer, err := a.HTTP.PostForm(a.URL+"/iam/realms/product-hub/protocol/openid-connect/token", form)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.AccessToken == "" {
		return "", fmt.Errorf("no access token: status %d, %v", answer.StatusCode, err)
	}
	a.token, a.asked = body.AccessToken, asked
	return a.token, nil
}

// As gives the same server as another client sees it.
func (a *API) As(id, secret string) *API {
	return &API{URL: a.URL, HTTP: a.HTTP, t: a.t, client: [2]string{id, secret}}
}

// Request makes an API request and gives status and body. body is sent as JSON
// unless it is nil or a string, which is sent as it is.
func (a *API) Request(method, path string, body any) (status int, answer []byte, err error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(text)
	}
	token, err := a.accessToken()
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequest(method, a.URL+"/me-creds/api"+path, reader)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := a.HTTP.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// Call makes an API request that must be answered with status want, and
// decodes the answer's data into out unless that is nil.
func (a *API) Call(method, path string, body any, want int, out any) {
	a.t.Helper()
	status, answer, err := a.Request(method, path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	if status != want {
		a.t.Fatalf("%s %s: status %d, want %d: %s", method, path, status, want, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, &struct{ Data any }{out}); err != nil {
		a.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
}

// Object is a JSON object.
type Object = map[string]any

// Register registers an endpoint and gives its id.
func (a *API) Register(url string) string {
	a.t.Helper()
	var e struct{ ID string }
	a.Call("POST", "/endpoints", Object{"url": url}, http.StatusCreated, &e)
	return e.ID
}

// Secret gives an endpoint's signing secret.
func (a *API) Secret(endpoint string) string {
	a.t.Helper()
	var s struct{ Secret string }
	a.Call("GET", "/endpoints/"+endpoint+"/secret", nil, http.StatusOK, &s)
	return s.Secret
}

// Publish publishes an event and gives its id.
func (a *API) Publish(eventType, issuance string) string {
	a.t.Helper()
	var e struct{ ID string }
	a.Call("POST", "/events", Object{"eventType": eventType, "payload": Object{"openId4VcIssuanceId": issuance}}, http.StatusAccepted, &e)
	return e.ID
}

// Log keeps what a server logs.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write keeps a line.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String gives all lines so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Tail gives the last lines.
func (l *Log) Tail() string {
	text := l.String()
	return text[max(0, len(text)-4096):]
}

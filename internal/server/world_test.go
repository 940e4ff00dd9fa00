package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/internal/auth"
	"tidings/internal/egress"
	"tidings/internal/issuer"
	"tidings/internal/server"
	"tidings/internal/store"
)

// claimsKept is for how long claims are kept after the end.
const claimsKept = 7 * 24 * time.Hour

const publicURL = "https://tidings.example"

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// lockedBuffer takes the log, which several requests write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take gives what was written since the last time.
func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// world is the API with everything real around it: store, tokens, issuer and
// the judge of URLs.
type world struct {
	t      *testing.T
	store  *store.Store
	auth   *auth.Service
	server *server.Server
	http   *httptest.Server
	clock  *clock
	log    *lockedBuffer
	token  string // of the organisation "default", with every scope
}

// newWorld starts a world; change may replace parts of the configuration.
func newWorld(t *testing.T, change ...func(*server.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, log: &lockedBuffer{}}
	ctx := t.Context()
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	var err error
	if w.store, err = store.Open(ctx, store.Options{Dir: t.TempDir(), Now: w.clock.Now, Log: log, ClaimsRetention: claimsKept}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	if w.auth, err = auth.New(ctx, auth.Config{PublicURL: publicURL, Now: w.clock.Now, Log: log}, w.store); err != nil {
		t.Fatal(err)
	}
	iss, err := issuer.New(ctx, issuer.Config{PublicURL: publicURL, Now: w.clock.Now, Log: log}, w.store)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := egress.NewGuard([]netip.Prefix{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := server.Config{
		Auth: w.auth, Endpoints: w.store, Secrets: w.store, Events: w.store, Deliveries: w.store, Repeats: w.store, Templates: w.store, Issuances: w.store, Credentials: w.store,
		Issuer: iss, CheckURL: guard.CheckURL, OfferLife: 168 * time.Hour, Log: log, Sandbox: true,
	}
	for _, c := range change {
		c(&cfg)
	}
	if w.server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.http = httptest.NewServer(w.server)
	t.Cleanup(w.http.Close)
	w.token = w.newToken("default")
	w.log.take()
	return w
}

// newToken makes a client of the organisation and gives a token of it; no
// scopes means all.
func (w *world) newToken(slug string, scopes ...tidings.Scope) string {
	w.t.Helper()
	if scopes == nil {
		scopes = tidings.AllScopes
	}
	id, secret := auth.NewClientID(), auth.NewClientSecret()
	_, err := w.store.CreateClient(w.t.Context(), slug, tidings.Client{ID: id, Scopes: scopes, SecretHash: auth.HashClientSecret(secret)})
	if err != nil {
		w.t.Fatal(err)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	r := httptest.NewRequest(http.MethodPost, auth.TokenPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	w.auth.Token(rec, r)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || answer.Token == "" {
		w.t.Fatalf("no token: %s", rec.Body)
	}
	return answer.Token
}

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	text   string
}

// request asks for path below the API's prefix (or, with //, for another
// path); headers are pairs, which replace those of a usual request, and an
// empty value drops one.
func (w *world) request(method, path, body string, headers ...string) answer {
	w.t.Helper()
	full := w.http.URL + server.Prefix + path
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		full = w.http.URL + "/" + rest
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, full, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // follows no redirect
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{w.t, method + " " + path, resp.StatusCode, resp.Header, string(text)}
	specOf(w.t, w.server).conforms(w.t, method, path, body, a)
	return a
}

func (w *world) get(path string, headers ...string) answer {
	w.t.Helper()
	return w.request(http.MethodGet, path, "", headers...)
}

func (w *world) post(path, body string, headers ...string) answer {
	w.t.Helper()
	return w.request(http.MethodPost, path, body, headers...)
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// want fails the test unless the status is that one.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.text)
	}
	return a
}

// body gives the answer as JSON.
func (a answer) body() map[string]any {
	a.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.text), &v); err != nil {
		a.t.Fatalf("%s: %v in %q", a.what, err, a.text)
	}
	return v
}

// data gives the one object of the answer.
func (a answer) data() map[string]any {
	a.t.Helper()
	v, ok := a.body()["data"].(map[string]any)
	if !ok {
		a.t.Fatalf("%s: no object in data: %s", a.what, a.text)
	}
	return v
}

// items gives the array of the answer.
func (a answer) items() []map[string]any {
	a.t.Helper()
	list, ok := a.body()["data"].([]any)
	if !ok {
		a.t.Fatalf("%s: no array in data: %s", a.what, a.text)
	}
	out := make([]map[string]any, len(list))
	for i := range list {
		out[i] = list[i].(map[string]any)
	}
	return out
}

func ids(items []map[string]any) []string {
	out := make([]string, len(items))
	for i := range items {
		out[i] = items[i]["id"].(string)
	}
	return out
}

// refused fails the test unless the answer is an error of that status and
// code whose source is at ("" for none), and well formed.
func (a answer) refused(status int, code, at string) answer {
	a.t.Helper()
	a.want(status)
	if got := a.header.Get("Content-Type"); got != "application/json" {
		a.t.Errorf("%s: content type %q", a.what, got)
	}
	list, _ := a.body()["errors"].([]any)
	if len(list) == 0 || len(a.body()) != 1 {
		a.t.Fatalf("%s: not an error envelope: %s", a.what, a.text)
	}
	for _, one := range list {
		for _, member := range []string{"id", "status", "code", "title", "detail"} {
			if text, _ := one.(map[string]any)[member].(string); text == "" {
				a.t.Errorf("%s: %s is missing: %s", a.what, member, a.text)
			}
		}
	}
	first := list[0].(map[string]any)
	if first["status"] != fmt.Sprint(status) || first["code"] != code {
		a.t.Errorf("%s: got %v %v, want %d %s", a.what, first["status"], first["code"], status, code)
	}
	got := ""
	if source, ok := first["source"].(map[string]any); ok {
		pointer, _ := source["pointer"].(string)
		parameter, _ := source["parameter"].(string)
		got = pointer + parameter
	}
	if got != at {
		a.t.Errorf("%s: the source is %q, want %q: %s", a.what, got, at, a.text)
	}
	if first["id"] != a.header.Get("X-Request-Id") {
		a.t.Errorf("%s: the id %v is not the request's %q", a.what, first["id"], a.header.Get("X-Request-Id"))
	}
	return a
}

// detail gives the sentence of the first error.
func (a answer) detail() string {
	a.t.Helper()
	return a.body()["errors"].([]any)[0].(map[string]any)["detail"].(string)
}

// The objects that the tests make.

func (w *world) endpoint(path string, headers ...string) string {
	w.t.Helper()
	return w.post("/endpoints", `{"url":"https://receiver.example/`+path+`"}`, headers...).want(201).data()["id"].(string)
}

func (w *world) event(issuance string, headers ...string) string {
	w.t.Helper()
	return w.post("/events", eventBody(issuance), headers...).want(202).data()["id"].(string)
}

func eventBody(issuance string) string {
	return `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"` + issuance + `"}}`
}

func (w *world) template(code string, headers ...string) string {
	w.t.Helper()
	return w.post("/templates/credentials", `{"name":"Membership `+code+`","code":"`+code+`","credentialFormat":"sd-jwt",
		"attributes":{"given_name":{"type":"string","required":true},"level":{"type":"number","name":"Level"}}}`, headers...).want(201).data()["id"].(string)
}

func (w *world) issuance(template string, headers ...string) string {
	w.t.Helper()
	return w.post("/credentials/issuance", `{"credentialTemplateId":"`+template+`","attributes":{"given_name":"Zainab"}}`, headers...).want(201).data()["id"].(string)
}

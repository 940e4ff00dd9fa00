package auth_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/internal/auth"
	"tidings/internal/store"
)

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

// world is a service on a store of its own, with one client of every scope.
type world struct {
	*auth.Service
	store  *store.Store
	clock  *clock
	log    *strings.Builder
	id     string
	secret string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)}, log: &strings.Builder{}}
	var err error
	w.store, err = store.Open(t.Context(), store.Options{Dir: t.TempDir(), Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.Service = w.service(t, publicURL, w.store)
	w.id, w.secret = w.client(t, "default", tidings.AllScopes...)
	return w
}

func (w *world) service(t *testing.T, base string, s auth.Store) *auth.Service {
	t.Helper()
	service, err := auth.New(t.Context(), auth.Config{PublicURL: base, Now: w.clock.Now, Log: slog.New(slog.NewTextHandler(w.log, nil))}, s)
	if err != nil {
		t.Fatal(err)
	}
	return service
}

func (w *world) client(t *testing.T, slug string, scopes ...tidings.Scope) (id, secret string) {
	t.Helper()
	id, secret = auth.NewClientID(), auth.NewClientSecret()
	_, err := w.store.CreateClient(t.Context(), slug, tidings.Client{ID: id, Scopes: scopes, SecretHash: auth.HashClientSecret(secret)})
	if err != nil {
		t.Fatal(err)
	}
	return id, secret
}

// post sends a token request; headers are pairs.
func post(service *auth.Service, body string, headers ...string) *http.Response {
	r := httptest.NewRequest(http.MethodPost, auth.TokenPath, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	service.Token(w, r)
	return w.Result()
}

func form(pairs ...string) string {
	v := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

func decode(t *testing.T, r io.Reader) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.NewDecoder(r).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// token asks for a token, which must be given.
func (w *world) token(t *testing.T, pairs ...string) string {
	t.Helper()
	answer := post(w.Service, form(append([]string{"client_id", w.id, "client_secret", w.secret}, pairs...)...))
	v := decode(t, answer.Body)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %v", answer.StatusCode, v)
	}
	return v["access_token"].(string)
}

func TestTokenAnswer(t *testing.T) {
	w := newWorld(t)
	answer := post(w.Service, form("client_id", w.id, "client_secret", w.secret))
	got := decode(t, answer.Body)
	token, _ := got["access_token"].(string)
	if strings.Count(token, ".") != 2 {
		t.Errorf("access_token %q is not a JWT", token)
	}
	delete(got, "access_token")
	text, _ := json.Marshal(got)
	want := `{"expires_in":300,"not-before-policy":0,"refresh_expires_in":0,"scope":"publish read admin","token_type":"Bearer"}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"} {
		if got := answer.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	caller, err := w.Check(t.Context(), token)
	if err != nil || caller.ClientID != w.id || caller.Organisation.Slug != "default" || caller.Organisation.Key == 0 || caller.Scopes.String() != "publish read admin" {
		t.Errorf("Check gave %+v, %v", caller, err)
	}
	if log := w.log.String(); strings.Contains(log, w.secret) || strings.Contains(log, token) || !strings.Contains(log, w.id) {
		t.Errorf("the log must name the client and hold no secret: %s", log)
	}
}

// tokenTest is one token request.
type tokenTest struct {
	name, body string
	headers    []string
	status     int
	code       string // of the error; with 200 the scope
}

func basic(id, secret string) string {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(id, secret)
	return r.Header.Get("Authorization")
}

func (w *world) run(t *testing.T, tests []tokenTest) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answer := post(w.Service, test.body, test.headers...)
			got := decode(t, answer.Body)
			code, _ := got["error"].(string)
			if test.status == 200 {
				code, _ = got["scope"].(string)
			} else if len(got) != 2 || got["error_description"] == "" {
				t.Errorf("not a flat error: %v", got)
			}
			if answer.StatusCode != test.status || code != test.code {
				t.Errorf("got %d %v, want %d %s", answer.StatusCode, got, test.status, test.code)
			}
			if h := answer.Header; h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", h)
			}
			if challenge := answer.Header.Get("WWW-Authenticate"); (challenge != "") != (test.status == 401) {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
		})
	}
}

func TestTokenGrants(t *testing.T) {
	w := newWorld(t)
	reader, readerSecret := w.client(t, "default", tidings.ScopeRead)
	admin, adminSecret := w.client(t, "default", tidings.ScopeAdmin)
	good := form("client_id", w.id, "client_secret", w.secret)
	w.run(t, []tokenTest{
		{"form", good, nil, 200, "publish read admin"},
		{"basic", form(), []string{"Authorization", basic(w.id, w.secret)}, 200, "publish read admin"},
		{"basic, form-urlencoded", form(), []string{"Authorization", basic(strings.ReplaceAll(w.id, "-", "%2D"), w.secret)}, 200, "publish read admin"},
		{"basic and the same client_id", form("client_id", w.id), []string{"Authorization", basic(w.id, w.secret)}, 200, "publish read admin"},
		{"charset", good, []string{"Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"}, 200, "publish read admin"},
		{"narrowed", form("client_id", w.id, "client_secret", w.secret, "scope", "read"), nil, 200, "read"},
		{"admin implies the others", form("client_id", admin, "client_secret", adminSecret, "scope", "publish read"), nil, 200, "publish read"},
		{"OpenID scopes are ignored", form("client_id", w.id, "client_secret", w.secret, "scope", "openid email read"), nil, 200, "read"},
		{"only OpenID scopes", form("client_id", reader, "client_secret", readerSecret, "scope", "openid"), nil, 200, "read"},
	})
}

func TestTokenRefusals(t *testing.T) {
	w := newWorld(t)
	reader, readerSecret := w.client(t, "default", tidings.ScopeRead)
	revoked, revokedSecret := w.client(t, "default", tidings.AllScopes...)
	if err := w.store.RevokeClient(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	good := form("client_id", w.id, "client_secret", w.secret)
	w.run(t, []tokenTest{
		{"empty", "", nil, 400, "invalid_request"},
		{"no grant", "client_id=a&client_secret=b", nil, 400, "invalid_request"},
		{"other grant", "grant_type=password&client_id=a&client_secret=b", nil, 400, "unsupported_grant_type"},
		{"twice", good + "&client_id=" + w.id, nil, 400, "invalid_request"},
		{"malformed", good + "&a=%zz", nil, 400, "invalid_request"},
		{"JSON", good, []string{"Content-Type", "application/json"}, 400, "invalid_request"},
		{"no type", good, []string{"Content-Type", ""}, 400, "invalid_request"},
		{"too large", good + "&a=" + strings.Repeat("x", 20<<10), nil, 413, "invalid_request"},
		{"no client", form(), nil, 401, "invalid_client"},
		{"no secret", form("client_id", w.id), nil, 401, "invalid_client"},
		{"wrong secret", form("client_id", w.id, "client_secret", "wrong"), nil, 401, "invalid_client"},
		{"wrong secret by Basic", form(), []string{"Authorization", basic(w.id, "wrong")}, 401, "invalid_client"},
		{"unknown client", form("client_id", "nobody", "client_secret", w.secret), nil, 401, "invalid_client"},
		{"a client that no store can hold", form("client_id", "a\x00b", "client_secret", w.secret), nil, 401, "invalid_client"},
		{"revoked", form("client_id", revoked, "client_secret", revokedSecret), nil, 401, "invalid_client"},
		{"not Basic", form(), []string{"Authorization", "Bearer abc"}, 401, "invalid_client"},
		{"Basic with bad escapes", form(), []string{"Authorization", basic("%zz", "a")}, 401, "invalid_client"},
		{"Basic and secret", good, []string{"Authorization", basic(w.id, w.secret)}, 400, "invalid_request"},
		{"Basic and another id", form("client_id", reader), []string{"Authorization", basic(w.id, w.secret)}, 400, "invalid_request"},
		{"unknown scope", form("client_id", w.id, "client_secret", w.secret, "scope", "root"), nil, 400, "invalid_scope"},
		{"scope beyond the client's", form("client_id", reader, "client_secret", readerSecret, "scope", "publish"), nil, 400, "invalid_scope"},
	})
	if log := w.log.String(); strings.Contains(log, w.secret) || strings.Contains(log, readerSecret) {
		t.Error("the log holds a secret")
	}
}

// An unknown client, a wrong secret and a revoked client must look the same.
func TestTokenTellsNothingOfClients(t *testing.T) {
	w := newWorld(t)
	revoked, secret := w.client(t, "default", tidings.AllScopes...)
	if err := w.store.RevokeClient(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	read := func(id, secret string) string {
		body, _ := io.ReadAll(post(w.Service, form("client_id", id, "client_secret", secret)).Body)
		return string(body)
	}
	unknown := read("nobody", w.secret)
	if wrong := read(w.id, "wrong"); wrong != unknown {
		t.Errorf("a wrong secret gives %s, an unknown client %s", wrong, unknown)
	}
	if gone := read(revoked, secret); gone != unknown {
		t.Errorf("a revoked client gives %s, an unknown one %s", gone, unknown)
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		method  string
		handler http.HandlerFunc
		status  int
		allow   string
	}{
		{http.MethodGet, w.Token, 405, "POST"},
		{http.MethodPost, w.Certs, 405, "GET, HEAD"},
		{http.MethodHead, w.Certs, 200, ""},
	} {
		rec := httptest.NewRecorder()
		test.handler(rec, httptest.NewRequest(test.method, "/", nil))
		if rec.Code != test.status || rec.Header().Get("Allow") != test.allow {
			t.Errorf("%s: %d, Allow %q", test.method, rec.Code, rec.Header().Get("Allow"))
		}
	}
}

// troubled is a store whose clients cannot be read.
type troubled struct{ *store.Store }

func (troubled) Client(context.Context, string) (tidings.Client, error) {
	return tidings.Client{}, tidings.Unavailable(time.Second, nil, "The disk is on fire.")
}

func TestStoreTrouble(t *testing.T) {
	w := newWorld(t)
	token := w.token(t)
	service := w.service(t, publicURL, troubled{w.store})
	answer := post(service, form("client_id", w.id, "client_secret", w.secret))
	if body := decode(t, answer.Body); answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" || body["error"] != "temporarily_unavailable" {
		t.Errorf("got %d %v %v", answer.StatusCode, answer.Header, body)
	}
	if _, err := service.Check(t.Context(), token); tidings.KindOf(err) != tidings.KindUnavailable {
		t.Errorf("Check: a store in trouble must not look like a bad token: %v", err)
	}
}

func TestConfigMistakes(t *testing.T) {
	w := newWorld(t)
	for _, cfg := range []auth.Config{{}, {PublicURL: publicURL, TokenLife: -time.Second}, {PublicURL: publicURL, TokenLife: time.Millisecond}} {
		if _, err := auth.New(t.Context(), cfg, w.store); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func TestClientSecrets(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id, secret := auth.NewClientID(), auth.NewClientSecret()
		if len(secret) < 52 || strings.ContainsAny(secret, "-_") || seen[secret] || seen[id] || url.QueryEscape(id+secret) != id+secret {
			t.Fatalf("id %q, secret %q", id, secret)
		}
		seen[id], seen[secret] = true, true
	}
}

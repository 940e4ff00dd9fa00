package console_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/auth"
	"tidings/internal/store"
)

// visitor is a browser without scripts: it keeps cookies and follows redirects.
type visitor struct {
	t    *testing.T
	app  *apptest.App
	http *http.Client
	csrf string // of the last page with a form
}

func visit(t *testing.T, a *apptest.App) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, app: a, http: &http.Client{Transport: a.HTTP.Transport, Jar: jar, Timeout: time.Minute}}
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (v *visitor) take(answer *http.Response, err error) (*http.Response, string) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if found := csrfField.FindSubmatch(body); found != nil {
		v.csrf = string(found[1])
	}
	return answer, string(body)
}

func (v *visitor) get(path string) (*http.Response, string) {
	v.t.Helper()
	return v.take(v.http.Get(v.app.URL + "/console" + path))
}

// post sends a form of name, value, name, value with the token of the last page.
func (v *visitor) post(path string, pairs ...string) (*http.Response, string) {
	v.t.Helper()
	form := url.Values{"csrf": {v.csrf}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return v.take(v.http.PostForm(v.app.URL+"/console"+path, form))
}

func (v *visitor) signIn(id, secret string) {
	v.t.Helper()
	v.get("/sign-in")
	answer, body := v.post("/sign-in", "client_id", id, "client_secret", secret)
	if answer.StatusCode != http.StatusOK || answer.Request.URL.Path != "/console" {
		v.t.Fatalf("signing in led to %d %s: %s", answer.StatusCode, answer.Request.URL, body)
	}
}

// wants proves that a page is shown, or that the sign-in page is.
func (v *visitor) wants(path, at string) {
	v.t.Helper()
	if answer, body := v.get(path); answer.StatusCode != http.StatusOK || answer.Request.URL.Path != "/console"+at {
		v.t.Fatalf("GET %s led to %d %s, want %s: %s", path, answer.StatusCode, answer.Request.URL, at, body)
	}
}

// beside opens the server's store as a command line beside it does.
func beside(t *testing.T, a *apptest.App) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: a.Dir, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newClient(t *testing.T, s *store.Store, org, id string, scopes ...tidings.Scope) (secret string) {
	t.Helper()
	secret = auth.NewClientSecret()
	_, err := s.CreateClient(t.Context(), org, tidings.Client{ID: id, Scopes: scopes, SecretHash: auth.HashClientSecret(secret)})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestPagesAreGuarded(t *testing.T) {
	a := apptest.New(t)
	v := visit(t, a)
	for _, path := range []string{"", "/", "/endpoints", "/endpoints/new", "/deliveries", "/events", "/events/stream"} {
		v.wants(path, "/sign-in")
	}
	answer, _ := v.get("/sign-in")
	policy := answer.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
	noRedirect := *v.http
	noRedirect.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	v.http = &noRedirect
	answer, _ = v.post("/sign-in", "client_id", apptest.ClientID, "client_secret", apptest.ClientSecret, "next", "https://elsewhere.example/console")
	if to := answer.Header.Get("Location"); to != "/console" {
		t.Errorf("after the sign-in it goes on to %q", to)
	}
	found := false
	for _, c := range answer.Cookies() {
		if c.Value == "" {
			continue
		}
		found = true
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/console" {
			t.Errorf("the cookie is %s", c)
		}
	}
	if !found {
		t.Error("there is no cookie")
	}
	if !strings.Contains(a.Logs.String(), "route=/console/sign-in status=303") {
		t.Errorf("the sign-in has no log line")
	}
	if strings.Contains(a.Logs.String(), apptest.ClientSecret) {
		t.Error("the secret stands in the log")
	}
}

// A form counts only with the token of its session, and from a page of ours.
func TestFormsNeedTheirToken(t *testing.T) {
	a := apptest.New(t)
	v := visit(t, a)
	v.get("/sign-in")
	stranger := v.csrf
	v.signIn(apptest.ClientID, apptest.ClientSecret)
	v.get("/endpoints/new")
	good := v.csrf
	for name, token := range map[string]string{"none": "", "another session's": stranger, "a wrong one": good[1:] + "A"} {
		v.csrf = token
		if answer, _ := v.post("/endpoints/new", "url", "https://receiver.example/"); answer.StatusCode != http.StatusForbidden {
			t.Errorf("with %s token: %d", name, answer.StatusCode)
		}
	}
	request, err := http.NewRequest("POST", a.URL+"/console/endpoints/new", strings.NewReader(url.Values{"csrf": {good}, "url": {"https://receiver.example/"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	if answer, _ := v.take(v.http.Do(request)); answer.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %d", answer.StatusCode)
	}
	v.csrf = good
	if answer, body := v.post("/endpoints/new", "url", "https://receiver.example/"); answer.StatusCode != http.StatusOK || !strings.Contains(body, "Created.") {
		t.Errorf("with its token: %d %s", answer.StatusCode, body)
	}
}

// Somebody who follows a link of another site comes without the cookie, which is
// strict, and is brought to the page by one of ours.
func TestALinkFromElsewhereLeadsToItsPage(t *testing.T) {
	a := apptest.New(t)
	v := visit(t, a)
	request, err := http.NewRequest("GET", a.URL+"/console/deliveries?status=failed", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	answer, _ := v.take(v.http.Do(request))
	if got := answer.Header.Get("Refresh"); got != "0;url=/console/deliveries?status=failed" {
		t.Errorf("it is led to %q", got)
	}
}

// A session outlives a restart, and ends with its time, its client or its
// client's secret.
func TestWhatEndsASession(t *testing.T) {
	now := time.Now()
	later := make(chan time.Duration, 1)
	later <- 0
	a := apptest.New(t, func(c *app.Config) {
		c.Now = func() time.Time {
			d := <-later
			later <- d
			return now.Add(d)
		}
	})
	s := beside(t, a)
	signedIn := func(id string) *visitor {
		t.Helper()
		secret := newClient(t, s, "acme", id, tidings.ScopeRead)
		v := visit(t, a)
		v.signIn(id, secret)
		return v
	}
	one, two, three := signedIn("one"), signedIn("two"), signedIn("three")
	a.Restart()
	one.wants("/deliveries", "/deliveries")
	if err := s.RevokeClient(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	one.wants("/deliveries", "/sign-in")
	two.wants("/deliveries", "/deliveries")
	if err := s.RotateClient(t.Context(), "two", auth.HashClientSecret("another secret of two")); err != nil {
		t.Fatal(err)
	}
	two.wants("/deliveries", "/sign-in")
	<-later
	later <- 11 * time.Hour
	three.wants("/deliveries", "/deliveries")
	<-later
	later <- 13 * time.Hour
	three.wants("/deliveries", "/sign-in")
}

// A client may do in the console what it may do with the API, in its own
// organisation.
func TestScopesAndOrganisations(t *testing.T) {
	a := apptest.New(t)
	id := a.Register("https://receiver.example/")
	event := a.Publish("openid4vc.issuance.offered", "theirs")
	s := beside(t, a)
	reader := visit(t, a)
	reader.signIn("reader", newClient(t, s, "default", "reader", tidings.ScopeRead))
	_, body := reader.get("/endpoints/" + id)
	for _, button := range []string{"Show the secret", "Pause", "Delete", "Rotate", "Edit"} {
		if strings.Contains(body, button) {
			t.Errorf("a reader is shown %q", button)
		}
	}
	for _, path := range []string{"/secret", "/rotate", "/test", "/status", "/recover", "/delete", "/edit"} {
		if answer, _ := reader.post("/endpoints/" + id + path); answer.StatusCode != http.StatusForbidden {
			t.Errorf("a reader's POST %s: %d", path, answer.StatusCode)
		}
	}
	if answer, _ := reader.get("/endpoints/new"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a reader's new endpoint: %d", answer.StatusCode)
	}
	publisher := visit(t, a)
	secret := newClient(t, s, "default", "publisher", tidings.ScopePublish)
	publisher.get("/sign-in")
	publisher.post("/sign-in", "client_id", "publisher", "client_secret", secret)
	if answer, _ := publisher.get("/endpoints"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a publisher without the scope read sees the endpoints: %d", answer.StatusCode)
	}

	stranger := visit(t, a)
	stranger.signIn("stranger", newClient(t, s, "other", "stranger", tidings.AllScopes...))
	for _, path := range []string{"/endpoints/" + id, "/endpoints/" + id + "/edit", "/events/" + event, "/deliveries/" + event} {
		if answer, _ := stranger.get(path); answer.StatusCode != http.StatusNotFound {
			t.Errorf("another organisation's GET %s: %d", path, answer.StatusCode)
		}
	}
	if answer, _ := stranger.post("/endpoints/" + id + "/secret"); answer.StatusCode != http.StatusNotFound {
		t.Errorf("another organisation reads the secret: %d", answer.StatusCode)
	}
	for _, path := range []string{"/deliveries?issuance=theirs", "/deliveries?endpoint=" + id, "/events?issuance=theirs"} {
		if _, body := stranger.get(path); strings.Contains(body, event) || strings.Contains(body, "offered</a>") {
			t.Errorf("another organisation's %s shows %s", path, body)
		}
	}
}

// Whatever stands in an address is answered by a page, never by a 500.
func TestAddressesThatMeanNothing(t *testing.T) {
	a := apptest.New(t)
	a.Publish("openid4vc.issuance.offered", "one")
	v := visit(t, a)
	v.signIn(apptest.ClientID, apptest.ClientSecret)
	for path, want := range map[string]int{
		"/deliveries?issuance=%00":           http.StatusNotFound,
		"/deliveries?after=nothing":          http.StatusBadRequest,
		"/deliveries?status=%22%3E%3Cscript": http.StatusOK,
		"/deliveries?type=a%20b":             http.StatusOK,
		"/deliveries/%00":                    http.StatusNotFound,
		"/deliveries/nothing":                http.StatusNotFound,
		"/endpoints/nothing":                 http.StatusNotFound,
		"/endpoints?before=nothing":          http.StatusBadRequest,
		"/events?before=nothing":             http.StatusBadRequest,
		"/events/stream?last=%00":            http.StatusNotFound,
		"/nothing":                           http.StatusNotFound,
		"/assets/nothing.css":                http.StatusNotFound,
		"?range=century":                     http.StatusOK,
		"?done=%3Cscript%3E":                 http.StatusOK,
	} {
		answer, body := v.get(path)
		if answer.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", path, answer.StatusCode, want)
		}
		if strings.Contains(body, "<script>") || strings.Contains(body, `"><script`) {
			t.Errorf("GET %s: what the address holds is in the page as it is", path)
		}
	}
}

// Where an outside issuer gives out the tokens, the clients of this installation
// open the console, which has no other sign-in, and nothing else.
func TestLocalClientsOpenTheConsoleBesideAnOutsideIssuer(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.AuthIssuer = "https://127.0.0.1:1" })
	v := visit(t, a)
	v.signIn(apptest.ClientID, apptest.ClientSecret)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {apptest.ClientID}, "client_secret": {apptest.ClientSecret}}
	if answer, body := v.take(v.http.PostForm(a.URL+auth.TokenPath, form)); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a local client gets a token: %d %s", answer.StatusCode, body)
	}
}

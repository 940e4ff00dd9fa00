package foreign

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/localca"
)

const issuerSecret = "an outside client's secret, Canary-5150"

// issuerWorld is a server that takes the tokens of a foreign issuer.
type issuerWorld struct {
	*apptest.App
	t      *testing.T
	issuer *stepper
	url    string       // of the issuer
	http   *http.Client // trusts the issuer
	ahead  *atomic.Int64
}

// newIssuerWorld starts both. The issuer listens, but does not work yet.
func newIssuerWorld(t *testing.T) *issuerWorld {
	t.Helper()
	ca, err := localca.New() // another than that of the server
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &issuerWorld{t: t, issuer: startStepper(t, files.CA, "provider.mjs"), ahead: &atomic.Int64{}}
	clients := []object{{"id": "default-shop", "secret": issuerSecret}, {"id": "other-shop", "secret": issuerSecret}}
	var at struct{ Issuer string }
	w.issuer.do("listen", object{"cert": files.Cert, "key": files.Key, "clients": clients}, &at)
	w.url = at.Issuer
	w.http = apptest.NewAPI(t, w.url, ca).HTTP
	w.App = apptest.New(t, func(c *app.Config) {
		c.AuthIssuer, c.AuthRoots, c.AuthOrganisationClaim = w.url, ca.Pool(), "tidings.organisation"
		c.Now = func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	})
	return w
}

func (w *issuerWorld) api() string { return w.URL + "/me-creds/api" }

// token asks the foreign issuer for a token.
func (w *issuerWorld) token(client, scope, resource string) string {
	w.t.Helper()
	answer, err := w.http.PostForm(w.url+"/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {issuerSecret},
		"scope": {scope}, "resource": {resource},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.AccessToken == "" {
		w.t.Fatalf("the issuer gives no token: status %d, %q, %v", answer.StatusCode, body.Description, err)
	}
	return body.AccessToken
}

// send makes a request with a token and gives status and body.
func (w *issuerWorld) send(method, address, token string, body any) (int, string) {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	request, err := http.NewRequest(method, address, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := w.HTTP.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// want makes a request whose answer must have a status and hold a text.
func (w *issuerWorld) want(method, address, token string, body any, status int, text string) {
	w.t.Helper()
	if got, answer := w.send(method, address, token, body); got != status || !strings.Contains(answer, text) {
		w.t.Errorf("%s %s: status %d, %s; want %d and %q", method, address, got, answer, status, text)
	}
}

func TestAForeignIssuerGivesOutTheTokens(t *testing.T) {
	t.Parallel()
	w := newIssuerWorld(t)
	events := w.api() + "/events"

	// The server runs without the issuer, and says that it is not ready.
	w.want("GET", w.URL+"/healthz", "", nil, http.StatusOK, "ok")
	w.want("GET", w.URL+"/readyz", "", nil, http.StatusServiceUnavailable, "unavailable")
	w.want("GET", events, "a.b.c", nil, http.StatusUnauthorized, "malformed")
	w.want("GET", w.URL+"/.well-known/openid-credential-issuer/o/default", "", nil, http.StatusOK, "credential_endpoint")
	w.want("POST", w.URL+"/iam/realms/product-hub/protocol/openid-connect/token", "", nil, http.StatusNotFound, w.url)

	w.issuer.do("begin", nil, nil)
	w.Await("the server knows the issuer", func() bool {
		status, _ := w.send("GET", w.URL+"/readyz", "", nil)
		return status == http.StatusOK
	})
	w.want("POST", w.URL+"/iam/realms/product-hub/protocol/openid-connect/token", "", nil, http.StatusNotFound, w.url+"/token")

	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		w.issuer.do("sign", object{"alg": alg}, nil)
		w.want("GET", events, w.token("default-shop", "read", w.api()), nil, http.StatusOK, `"data"`)
	}
	publish := object{"eventType": "openid4vc.issuance.completed", "payload": object{"openId4VcIssuanceId": "one"}}
	reader := w.token("default-shop", "read", w.api())
	w.want("POST", events, reader, publish, http.StatusForbidden, "lacks the scope publish")
	w.want("POST", events, w.token("default-shop", "publish", w.api()), publish, http.StatusAccepted, `"id"`)
	w.want("GET", events, reader, nil, http.StatusOK, `"one"`)
	w.want("GET", events, w.token("default-shop", "", w.api()), nil, http.StatusForbidden, "lacks the scope read")
	w.want("GET", events, w.token("default-shop", "read", "https://other.example/api"), nil, http.StatusUnauthorized, "another service")
	w.want("GET", events, w.token("other-shop", "read admin", w.api()), nil, http.StatusForbidden, `organisation \"other\"`)
	w.want("GET", events, reader[:len(reader)-8]+"AAAAAAAA", nil, http.StatusUnauthorized, "does not verify")
}

func TestAForeignIssuerChangesItsKeys(t *testing.T) {
	t.Parallel()
	w := newIssuerWorld(t)
	events := w.api() + "/events"
	w.issuer.do("begin", nil, nil)
	w.Await("the server knows the issuer", func() bool {
		status, _ := w.send("GET", w.URL+"/readyz", "", nil)
		return status == http.StatusOK
	})
	before := w.token("default-shop", "read", w.api())
	unused := w.token("default-shop", "read", w.api())
	w.want("GET", events, before, nil, http.StatusOK, `"data"`)

	w.issuer.do("begin", nil, nil)
	after := w.token("default-shop", "read", w.api())
	w.want("GET", events, after, nil, http.StatusOK, `"data"`)
	w.want("GET", events, unused, nil, http.StatusUnauthorized, "does not publish")

	w.ahead.Store(int64(301 * time.Second))
	w.want("GET", events, after, nil, http.StatusUnauthorized, "has expired")
	if log := w.Logs.String(); strings.Contains(log, issuerSecret) || strings.Contains(log, after) || strings.Contains(log, before[:40]) {
		t.Error("the log holds a token or a secret")
	}
}

package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings"

	"github.com/go-jose/go-jose/v4"
)

const (
	discoveryPath = "/realms/main/.well-known/openid-configuration"
	rfc8414Path   = "/.well-known/oauth-authorization-server/realms/main"
	keysPath      = "/realms/main/certs"
)

// write answers with a JSON document.
func write(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

// misconduct is how an issuer answers at a path.
type misconduct struct {
	path   string
	answer http.HandlerFunc
}

func misconducts(t *testing.T) map[string]misconduct {
	t.Helper()
	description := func(name, value string) http.HandlerFunc {
		m := map[string]string{"issuer": realm, "jwks_uri": realm + "/certs", name: value}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return write(string(text))
	}
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://evil.example"+r.URL.Path, http.StatusFound)
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", code) }
	}
	page := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>CANARY") }
	large := write(`{"issuer":"` + strings.Repeat("a", 300<<10) + `"}`)
	deep := write(strings.Repeat(`{"keys":[`, 50_000))
	many := write(`{"keys":[` + strings.Repeat(`{"kty":"EC"},`, 100) + `{}]}`)
	return map[string]misconduct{
		"another issuer":             {discoveryPath, description("issuer", "https://evil.example")},
		"a slash more":               {discoveryPath, description("issuer", realm+"/")},
		"no issuer":                  {discoveryPath, write(`{"jwks_uri":"` + realm + `/certs"}`)},
		"no keys":                    {discoveryPath, write(`{"issuer":"` + realm + `"}`)},
		"keys over http":             {discoveryPath, description("jwks_uri", "http://login.example/certs")},
		"keys on loopback over http": {discoveryPath, description("jwks_uri", "http://127.0.0.1/certs")},
		"keys in a file":             {discoveryPath, description("jwks_uri", "file:///etc/passwd")},
		"keys at no address":         {discoveryPath, description("jwks_uri", "certs")},
		"keys of the wrong type":     {discoveryPath, write(`{"issuer":"` + realm + `","jwks_uri":1}`)},
		"a list for a description":   {discoveryPath, write(`[]`)},
		"null for a description":     {discoveryPath, write(`null`)},
		"a large description":        {discoveryPath, large},
		"a deep description":         {discoveryPath, deep},
		"a page for a description":   {discoveryPath, page},
		"a redirected description":   {discoveryPath, redirect},
		"a failing description":      {discoveryPath, status(http.StatusInternalServerError)},
		"no description":             {discoveryPath, status(http.StatusNotFound)},
		"a hanging description":      {discoveryPath, hang},
		"a large key set":            {keysPath, large},
		"a deep key set":             {keysPath, deep},
		"too many keys":              {keysPath, many},
		"an empty key set":           {keysPath, write(`{"keys":[]}`)},
		"no key set":                 {keysPath, write(`{}`)},
		"text for a key set":         {keysPath, write(`{"keys":"a"}`)},
		"nulls for keys":             {keysPath, write(`{"keys":[null,null]}`)},
		"a redirected key set":       {keysPath, redirect},
		"a page for a key set":       {keysPath, page},
		"a forbidden key set":        {keysPath, status(http.StatusForbidden)},
		"a hanging key set":          {keysPath, hang},
	}
}

func TestOutsideHostileIssuer(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	for name, c := range misconducts(t) {
		t.Run(name, func(t *testing.T) {
			i := newRealm(key)
			i.routes[c.path] = c.answer
			inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
				time.Sleep(time.Minute)
				_, err := w.Check(t.Context(), signed(t, key, nil))
				if tidings.KindOf(err) != tidings.KindUnavailable || w.Ready(t.Context()) == nil {
					t.Errorf("got %v, ready: %v", err, w.Ready(t.Context()))
				}
				if log := w.log.String(); len(log) > 8<<10 || !strings.Contains(log, "could not be fetched") || strings.Contains(log, "CANARY") {
					t.Errorf("the log: %.2000s", log)
				}
				i.change(func() { delete(i.routes, c.path) })
				time.Sleep(time.Minute)
				if _, err := w.Check(t.Context(), signed(t, key, nil)); err != nil {
					t.Errorf("once the issuer is itself again: %v", err)
				}
			})
		})
	}
}

// What is known is not lost to an answer that makes no sense.
func TestOutsideKeepsItsKeysFromAHostileAnswer(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	i := newRealm(key)
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		i.change(func() { i.keys = map[string]any{"keys": []any{}} })
		time.Sleep(30 * time.Minute)
		if _, err := w.Check(t.Context(), signed(t, key, nil)); err != nil {
			t.Error(err)
		}
	})
}

// endless is a body without an end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read += len(p); e.read > 8<<20 {
		return 0, errors.New("more was read than the limit allows")
	}
	for k := range p {
		p[k] = ' '
	}
	return len(p), nil
}

func (e *endless) Close() error { return nil }

// endlessly answers every request with an endless body.
type endlessly struct{ body endless }

func (e *endlessly) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: &e.body}, nil
}

func TestOutsideReadsNoMoreThanItsLimit(t *testing.T) {
	body := &endlessly{}
	i := newRealm()
	i.instead = body
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		time.Sleep(2 * time.Second)
		if w.Ready(t.Context()) == nil || body.body.read == 0 || body.body.read > 2*(512<<10) {
			t.Errorf("read %d bytes", body.body.read)
		}
	})
}

// A key set holds what this server must not use beside what it can.
func TestOutsideHostileKeys(t *testing.T) {
	rs, es, ed := realmKeys()[jose.RS256], realmKeys()[jose.ES256], realmKeys()[jose.EdDSA]
	raw := func(key jose.JSONWebKey, change func(map[string]any)) map[string]any {
		text, err := key.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]any{}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(m)
		}
		return m
	}
	secret := []byte("an HMAC secret of thirty-two bytes")
	i := newRealm()
	i.keys = map[string]any{"keys": []any{
		nil, 1, "key", map[string]any{}, map[string]any{"kty": "AKP", "alg": "ML-DSA-44", "kid": "a"},
		map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret), "kid": "oct"},
		map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "tiny", "alg": "RS256"},
		map[string]any{"kty": "RSA", "n": strings.Repeat("_", 12<<10), "e": "AQAB", "kid": "huge", "alg": "RS256"},
		raw(rs[0], nil), // with its private part
		raw(es[0].Public(), set("use", "enc")),
		raw(ed[0].Public(), set("alg", "HS256")),
		raw(rs[1].Public(), nil),
	}}
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		hs := jose.JSONWebKey{Key: secret, KeyID: "oct", Algorithm: "HS256"}
		for name, key := range map[string]jose.JSONWebKey{"HMAC": hs, "published with its private part": rs[0], "for encryption": es[0], "of another algorithm": ed[0]} {
			_, err := w.Check(t.Context(), signed(t, key, nil))
			refused(t, name, "", err)
		}
		if _, err := w.Check(t.Context(), signed(t, rs[1], nil)); err != nil {
			t.Errorf("the good one: %v", err)
		}
	})
}

// An issuer that knows OAuth 2.0 only (RFC 8414), whose token endpoint cannot
// be shown.
func TestOutsideWithoutOpenIDConnect(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	i := newRealm(key)
	i.metadata = nil
	i.routes[discoveryPath] = http.NotFound
	i.routes[rfc8414Path] = write(`{"issuer":"` + realm + `","jwks_uri":"` + realm + `/certs","token_endpoint":"javascript:alert(1)"}`)
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		if _, err := w.Check(t.Context(), signed(t, key, nil)); err != nil {
			t.Error(err)
		}
		_, err := w.Check(t.Context(), signed(t, key, set("exp", 1)))
		if err == nil || !strings.Contains(err.Error(), "ask the issuer "+realm) {
			t.Errorf("where to get a token: %v", err)
		}
	})
}

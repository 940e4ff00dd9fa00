package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/internal/auth"

	"github.com/go-jose/go-jose/v4"
)

func TestOutsideAlgorithms(t *testing.T) {
	for alg, pair := range realmKeys() {
		for _, typ := range []jose.ContentType{"JWT", "at+jwt", "application/at+jwt", "AT+JWT"} {
			inBubble(t, newRealm(pair[0]), nil, func(t *testing.T, w *outsideWorld) {
				got, err := w.Check(t.Context(), forge(t, alg, pair[0], typ, claimsNow(nil)))
				if err != nil || got.Organisation.Slug != "acme" || got.ClientID != "shop" || got.Scopes.String() != "publish read" {
					t.Errorf("%s, typ %s: %+v, %v", alg, typ, got, err)
				}
			})
		}
	}
}

func TestOutsideRefuses(t *testing.T) {
	rs, es := realmKeys()[jose.RS256], realmKeys()[jose.ES256]
	inBubble(t, newRealm(rs[0], es[0]), nil, func(t *testing.T, w *outsideWorld) {
		good := signed(t, rs[0], nil)
		parts := strings.Split(good, ".")
		stranger := rs[1]
		stranger.KeyID = rs[0].KeyID
		asPS := rs[0]
		asPS.Algorithm = string(jose.PS256)
		now := time.Now()
		for name, token := range map[string]string{
			"empty": "", "a word": "word", "too long": strings.Repeat("a", 16<<10+1),
			"none":                      "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + ".",
			"JSON":                      `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
			"a changed payload":         parts[0] + "." + parts[1][:20] + "x" + parts[1][21:] + "." + parts[2],
			"no signature":              parts[0] + "." + parts[1] + ".",
			"another key under our kid": signed(t, stranger, nil),
			"an unknown key":            signed(t, rs[1], nil),
			"PS256 by a key for RS256":  signed(t, asPS, nil),
			"another sort of JWT":       forge(t, jose.RS256, rs[0], "logout+jwt", claimsNow(nil)),
			"an ID token of Keycloak":   signed(t, rs[0], set("typ", "ID")),
			"another issuer":            signed(t, rs[0], set("iss", realm+"/")),
			"no issuer":                 signed(t, rs[0], set("iss", nil)),
			"another audience":          signed(t, rs[0], set("aud", "account")),
			"no audience":               signed(t, rs[0], set("aud", nil)),
			"an audience with a slash":  signed(t, rs[0], set("aud", audience+"/")),
			"expired":                   signed(t, rs[0], set("exp", now.Unix())),
			"no expiry":                 signed(t, rs[0], set("exp", nil)),
			"expiry as text":            signed(t, rs[0], set("exp", "tomorrow")),
			"not yet valid":             signed(t, rs[0], set("nbf", now.Add(2*time.Minute).Unix())),
			"from the future":           signed(t, rs[0], set("iat", now.Add(2*time.Minute).Unix())),
			"bound to a key":            signed(t, rs[0], set("cnf", map[string]any{"jkt": "a"})),
		} {
			_, err := w.Check(t.Context(), token)
			refused(t, name, token, err)
		}
		if _, err := w.Check(t.Context(), good); err != nil {
			t.Errorf("the good one: %v", err)
		}
		for claim, value := range map[string]any{"nbf": now.Add(30 * time.Second).Unix(), "iat": now.Add(30 * time.Second).Unix(), "typ": nil, "aud": audience} {
			if _, err := w.Check(t.Context(), signed(t, es[0], set(claim, value))); err != nil {
				t.Errorf("%s %v: %v", claim, value, err)
			}
		}
	})
}

// The public key as an HMAC secret, and a key that the token brings along.
func TestOutsideForged(t *testing.T) {
	rs := realmKeys()[jose.RS256]
	inBubble(t, newRealm(rs[0]), nil, func(t *testing.T, w *outsideWorld) {
		published, err := rs[0].Public().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		hmac := forge(t, jose.HS256, jose.JSONWebKey{Key: published, KeyID: rs[0].KeyID}, "JWT", claimsNow(nil))
		_, err = w.Check(t.Context(), hmac)
		refused(t, "HS256", hmac, err)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: rs[1].Key},
			(&jose.SignerOptions{EmbedJWK: true}).WithType("JWT").WithHeader("kid", rs[0].KeyID))
		if err != nil {
			t.Fatal(err)
		}
		signature, err := signer.Sign([]byte(`{"iss":"` + realm + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		embedded, err := signature.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Check(t.Context(), embedded)
		refused(t, "an embedded key", embedded, err)
	})
}

func TestOutsideExpiryEndsTheCache(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	inBubble(t, newRealm(key), nil, func(t *testing.T, w *outsideWorld) {
		token := signed(t, key, set("exp", time.Now().Unix()+3))
		for range 2 {
			if _, err := w.Check(t.Context(), token); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(3 * time.Second)
		_, err := w.Check(t.Context(), token)
		refused(t, "expired", token, err)
		if err == nil || !strings.Contains(err.Error(), realm+"/token") {
			t.Errorf("the sentence does not say where to get a new one: %v", err)
		}
	})
}

func TestOutsideOrganisation(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	type object = map[string]any
	for name, c := range map[string]struct {
		path  string
		value object
		want  string // empty: forbidden
	}{
		"a member":              {"", object{"organisation": "default"}, "default"},
		"a list of one":         {"organization", object{"organization": []string{"acme"}}, "acme"},
		"within others":         {"resource_access.tidings.org", object{"resource_access": object{"tidings": object{"org": "acme"}}}, "acme"},
		"a client with dots":    {"resource_access.my.app.org", object{"resource_access": object{"my.app": object{"org": "acme"}}}, "acme"},
		"a namespaced claim":    {"https://tidings.example/org", object{"https://tidings.example/org": "acme"}, "acme"},
		"none":                  {"", object{"organisation": nil}, ""},
		"an empty one":          {"", object{"organisation": ""}, ""},
		"a list of two":         {"", object{"organisation": []string{"acme", "default"}}, ""},
		"an object":             {"", object{"organisation": object{"acme": object{}}}, ""},
		"a number":              {"", object{"organisation": 1}, ""},
		"one that is not here":  {"", object{"organisation": "other"}, ""},
		"one that nobody has":   {"", object{"organisation": "a b\x00\"'"}, ""},
		"nothing at the end":    {"a.b.c", object{"a": object{"b": "acme"}}, ""},
		"text before the end":   {"a.b", object{"a": "acme"}, ""},
		"a list before the end": {"a.b", object{"a": []any{object{"b": "acme"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, newRealm(key), func(cfg *auth.OutsideConfig) { cfg.OrganisationClaim = c.path }, func(t *testing.T, w *outsideWorld) {
				got, err := w.Check(t.Context(), signed(t, key, func(claims map[string]any) {
					for name, value := range c.value {
						claims[name] = value
					}
				}))
				switch {
				case c.want != "" && (err != nil || got.Organisation.Slug != c.want):
					t.Errorf("%+v, %v", got, err)
				case c.want == "" && tidings.KindOf(err) != tidings.KindForbidden:
					t.Errorf("%+v, %v: want it forbidden", got, err)
				}
			})
		})
	}
}

func TestOutsideScopes(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	for name, c := range map[string]struct {
		path, prefix string
		value        any
		want         string
	}{
		"text":                  {"", "", "openid admin read unknown", "read admin"},
		"a list":                {"", "", []any{"publish", 1, "offline_access"}, "publish"},
		"roles":                 {"scope.roles", "", map[string]any{"roles": []string{"admin"}}, "admin"},
		"with a prefix":         {"", "tidings:", "tidings:read publish tidings:admin-not", "read"},
		"without the prefix":    {"", "tidings:", "publish read admin", ""},
		"none":                  {"", "", nil, ""},
		"a list of one text":    {"", "", []string{"read admin"}, ""},
		"separated by commas":   {"", "", "read,admin", ""},
		"the same one twice":    {"", "", "read read", "read"},
		"in another letter":     {"", "", "ADMIN Read", ""},
		"as something else":     {"", "", true, ""},
		"only those of another": {"", "", "email", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, newRealm(key), func(cfg *auth.OutsideConfig) { cfg.ScopeClaim, cfg.ScopePrefix = c.path, c.prefix }, func(t *testing.T, w *outsideWorld) {
				got, err := w.Check(t.Context(), signed(t, key, set("scope", c.value)))
				if err != nil || got.Scopes.String() != c.want {
					t.Errorf("%q, %v; want %q", got.Scopes, err, c.want)
				}
			})
		})
	}
}

func TestOutsideNamesTheCaller(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	inBubble(t, newRealm(key), nil, func(t *testing.T, w *outsideWorld) {
		for want, change := range map[string]func(map[string]any){
			"first":                  set("client_id", "first"),
			"shop":                   nil,
			"service-account":        set("azp", nil),
			strings.Repeat("x", 128): set("azp", strings.Repeat("x", 300)),
			"shoplevel=ERROR":        set("azp", "shop\nlevel=ERROR \""),
		} {
			got, err := w.Check(t.Context(), signed(t, key, change))
			if err != nil || got.ClientID != want {
				t.Errorf("%q, %v; want %q", got.ClientID, err, want)
			}
		}
	})
}

// A new key is learned as soon as a token names it, a withdrawn one is dropped
// within five minutes, and strangers cannot have the issuer asked at will.
func TestOutsideRotation(t *testing.T) {
	rs := realmKeys()[jose.RS256]
	i := newRealm(rs[0])
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		i.publish(rs[1], rs[0])
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := w.Check(t.Context(), signed(t, rs[1], nil)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := i.fetches(); n > 4 {
			t.Errorf("the keys were fetched %d times for one new key", n)
		}
		before := i.fetches()
		unknown := realmKeys()[jose.ES256][1]
		for range 100 {
			_, err := w.Check(t.Context(), signed(t, unknown, nil))
			refused(t, "unknown", "", err)
			time.Sleep(100 * time.Millisecond)
		}
		if n := i.fetches() - before; n > 4 {
			t.Errorf("strangers had the keys fetched %d times in 10 s", n)
		}
		i.publish(rs[1])
		time.Sleep(5*time.Minute + time.Second)
		_, err := w.Check(t.Context(), signed(t, rs[0], nil))
		refused(t, "withdrawn", "", err)
		if _, err := w.Check(t.Context(), signed(t, rs[1], nil)); err != nil {
			t.Error(err)
		}
	})
}

// Tokens and keys without a kid: whatever key fits is tried.
func TestOutsideWithoutKeyIDs(t *testing.T) {
	rs, es := realmKeys()[jose.RS256], realmKeys()[jose.ES256]
	for _, pair := range [][2]*jose.JSONWebKey{{&rs[0], &rs[1]}, {&es[0], &es[1]}} {
		pair[0].KeyID, pair[1].KeyID = "", ""
	}
	i := newRealm(rs[0], es[0])
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		for _, key := range []jose.JSONWebKey{rs[0], es[0]} {
			if _, err := w.Check(t.Context(), signed(t, key, nil)); err != nil {
				t.Error(err)
			}
		}
		i.publish(rs[1])
		if _, err := w.Check(t.Context(), signed(t, rs[1], nil)); err != nil {
			t.Errorf("after a rotation: %v", err)
		}
		_, err := w.Check(t.Context(), signed(t, es[0], nil))
		refused(t, "withdrawn", "", err)
	})
}

func TestOutsideUnreachable(t *testing.T) {
	key := realmKeys()[jose.ES256][0]
	i := newRealm(key)
	i.down = errors.New("connection refused")
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		state := func(when string, want tidings.Kind) {
			t.Helper()
			_, err := w.Check(t.Context(), signed(t, key, nil))
			if got := tidings.KindOf(err); err != nil && got != want || err == nil && want != "" {
				t.Errorf("%s: %v, want %q", when, err, want)
			}
			if ready := w.Ready(t.Context()) == nil; ready != (want == "") {
				t.Errorf("%s: ready is %v", when, ready)
			}
		}
		time.Sleep(10 * time.Minute)
		state("never reached", tidings.KindUnavailable)
		i.change(func() { i.down = nil })
		time.Sleep(30 * time.Second)
		state("reached", "")
		i.change(func() { i.down = errors.New("connection refused") })
		time.Sleep(54 * time.Minute)
		state("lost for less than an hour", "")
		time.Sleep(7 * time.Minute)
		state("lost for more than an hour", tidings.KindUnavailable)
		i.change(func() { i.down = nil })
		time.Sleep(30 * time.Second)
		state("found again", "")
	})
}

// Who waits for the issuer's new key is let go when the server stops.
func TestOutsideStopsWhileTheIssuerHangs(t *testing.T) {
	es := realmKeys()[jose.ES256]
	i := newRealm(es[0])
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		i.change(func() {
			i.routes["/realms/main/certs"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		})
		done := make(chan error)
		start := time.Now()
		go func() {
			_, err := w.Check(t.Context(), signed(t, es[1], nil))
			done <- err
		}()
		time.Sleep(time.Second)
		if _, err := w.Check(t.Context(), signed(t, es[0], nil)); err != nil || time.Since(start) > time.Second {
			t.Errorf("a known key after %v: %v", time.Since(start), err)
		}
		w.stop()
		refused(t, "unknown", "", <-done)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestOutsideGivesOutNoTokens(t *testing.T) {
	i := newRealm(realmKeys()[jose.ES256][0])
	inBubble(t, i, nil, func(t *testing.T, w *outsideWorld) {
		for path, want := range map[string]string{auth.TokenPath: realm + "/token", auth.CertsPath: realm} {
			handle := map[string]http.HandlerFunc{auth.TokenPath: w.Token, auth.CertsPath: w.Certs}[path]
			rec := httptest.NewRecorder()
			handle(rec, httptest.NewRequest(http.MethodPost, path, nil))
			v := decode(t, rec.Body)
			if text, _ := v["error_description"].(string); rec.Code != http.StatusNotFound || !strings.Contains(text, want) {
				t.Errorf("%s: %d %v", path, rec.Code, v)
			}
		}
	})
}

func TestOutsideConfigReportsAllMistakes(t *testing.T) {
	for _, issuer := range []string{"", "login.example", "http://login.example", "https://u:p@login.example", "https://login.example?a=b", "https://login.example#a", "https:///x", "ftp://login.example", "https://login.example/a b"} {
		if err := (auth.OutsideConfig{Issuer: issuer, Audience: "a"}).Check(); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: %v", issuer, err)
		}
	}
	for _, issuer := range []string{"https://login.example/", realm, "http://127.0.0.1:8080/realms/a", "http://localhost", "http://[::1]:1"} {
		if err := (auth.OutsideConfig{Issuer: issuer, Audience: "a"}).Check(); err != nil {
			t.Errorf("%q: %v", issuer, err)
		}
	}
	_, err := auth.NewOutside(auth.OutsideConfig{OrganisationClaim: ".a", ScopeClaim: "a.", ScopePrefix: "a b"}, organisations{})
	for _, want := range []string{"auth-issuer", "auth-audience", "auth-organisation-claim", "auth-scope-claim", "auth-scope-prefix"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not reported: %v", want, err)
		}
	}
}

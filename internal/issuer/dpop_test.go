package issuer_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/issuer"
	"tidings/internal/wallet"
)

// bound lets a wallet that uses DPoP redeem a deferred offer.
func (f *front) bound() *session {
	f.Helper()
	w := wanting(f.template.ID, claims(), time.Hour)
	w.Deferred = true
	i, err := f.Offer(f.Context(), f.org, w)
	f.must(err)
	s := &session{Wallet: f.wallet().WithDPoP(newKey(f)), f: f, issuance: i}
	s.offer, err = s.ResolveOffer(f.Context(), f.OfferURI(i))
	f.must(err)
	s.issuer, err = s.Discover(f.Context(), s.offer.Issuer)
	f.must(err)
	s.token, err = s.Redeem(f.Context(), s.issuer, s.offer)
	f.must(err)
	return s
}

// A wallet that uses DPoP uses it on every step, and each of them is refused to
// whoever has the token without the key.
func TestDPoPOnEveryStep(t *testing.T) {
	f := open(t)
	s := f.bound()
	thief := s.WithDPoP(newKey(t))
	id := s.ask().TransactionID
	_, err := thief.Deferred(t.Context(), s.issuer, s.token, id)
	f.refused(err, 401, "invalid_dpop_proof")
	_, err = thief.RefreshToken(t.Context(), s.issuer, s.token)
	f.refused(err, 400, "invalid_dpop_proof")
	_, err = s.WithDPoP(nil).RefreshToken(t.Context(), s.issuer, s.token)
	f.refused(err, 400, "invalid_dpop_proof")
	s.refresh()
	s.decide(tidings.Approve)
	_, err = thief.Request(t.Context(), s.issuer, s.token, f.template.ID, s.proof())
	f.refused(err, 401, "invalid_dpop_proof")
	got, err := s.Deferred(t.Context(), s.issuer, s.token, id)
	f.must(err)
	f.refused(thief.Notify(t.Context(), s.issuer, s.token, got.NotificationID, wallet.Deleted), 401, "invalid_dpop_proof")
	f.refused(s.WithDPoP(nil).Notify(t.Context(), s.issuer, s.token, got.NotificationID, wallet.Deleted), 401, "invalid_token")
	f.must(s.Notify(t.Context(), s.issuer, s.token, got.NotificationID, wallet.Accepted))
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)

	plain := f.session() // a bearer token is no DPoP token
	f.refused(plain.WithDPoP(newKey(t)).Notify(t.Context(), s.issuer, plain.token, "x", wallet.Accepted), 401, "invalid_token")
}

// Each claim of a DPoP proof counts, and a proof works once.
func TestDPoPProof(t *testing.T) {
	f := open(t)
	s := f.bound()
	sum := sha256.Sum256([]byte(s.token.AccessToken))
	good := map[string]any{"jti": "a", "htm": "POST", "htu": s.issuer.NotificationEndpoint, "iat": f.clock.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:])}
	send := func(scheme, proof string) (int, string) {
		resp, body := f.send("POST", "/o/acme/notification", map[string]string{
			"Authorization": scheme + " " + s.token.AccessToken, "DPoP": proof, "Content-Type": "application/json"}, `{}`)
		if resp.StatusCode == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "DPoP error=") {
			t.Errorf("challenge %q", resp.Header.Get("WWW-Authenticate"))
		}
		return resp.StatusCode, body
	}
	sign := func(change map[string]any) string {
		claims := maps.Clone(good)
		maps.Copy(claims, change)
		proof, err := s.SignDPoP(claims)
		f.must(err)
		return proof
	}
	for _, change := range []map[string]any{
		{"jti": ""}, {"jti": strings.Repeat("j", 257)}, {"htm": "GET"}, {"htu": s.issuer.CredentialEndpoint}, {"htu": "https://other.example/o/acme/notification"}, {"htu": nil},
		{"iat": f.clock.Now().Unix() - 301}, {"iat": f.clock.Now().Unix() + 302}, {"iat": nil}, {"ath": ""}, {"ath": "x"}, {"iat": "now"},
	} {
		if status, body := send("DPoP", sign(change)); status != 401 || !strings.Contains(body, "invalid_dpop_proof") {
			t.Errorf("with %v: %d %s", change, status, body)
		}
	}
	for _, bad := range []string{"", "x", "a.b.c", s.proof()} {
		if status, _ := send("DPoP", bad); status != 401 {
			t.Errorf("the proof %.10q: %d", bad, status)
		}
	}
	if status, _ := send("Bearer", sign(nil)); status != 401 {
		t.Errorf("as a bearer token: %d", status)
	}
	for k, htu := range []string{strings.Replace(s.issuer.NotificationEndpoint, "https://", "HTTPS://", 1), s.issuer.NotificationEndpoint + "?a=b#c"} {
		if status, body := send("dpop", sign(map[string]any{"htu": htu, "jti": string(rune('b' + k))})); status != 400 { // the token is taken, the body is not
			t.Errorf("%s: %d %s", htu, status, body)
		}
	}
	var won atomic.Int32
	proof := sign(nil)
	inParallel(20, func() {
		if status, _ := send("DPoP", proof); status == 400 {
			won.Add(1)
		}
	})
	if won.Load() != 1 {
		t.Errorf("one proof was taken %d times", won.Load())
	}
}

// Each part of the header of a DPoP proof counts; a replayed one is refused for as
// long as its iat can pass; and a proxy in front, which names another host to the
// server, changes nothing.
func TestDPoPHeader(t *testing.T) {
	f := open(t)
	s, key := f.session(), newKey(t)
	offer, err := s.ResolveOffer(t.Context(), f.OfferURI(f.offer()))
	f.must(err)
	handler := f.Issuer.Handler()
	send := func(proofs ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "http://inside.example:8080/o/acme/token", strings.NewReader(
			url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:pre-authorized_code"}, "pre-authorized_code": {offer.PreAuthorizedCode}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header["Dpop"] = proofs
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	header := object{"typ": "dpop+jwt", "alg": "ES256", "jwk": members(t, &key.PublicKey)}
	claims := object{"jti": "one", "htm": "POST", "htu": f.IssuerURL("acme") + "/token", "iat": float64(f.clock.Now().Add(5*time.Minute).UnixMilli()) / 1000}
	good := jwt(t, header, claims, es256(key))
	none := jwt(t, with(header, object{"alg": "none"}), claims, func(string) []byte { return nil })
	for name, proofs := range map[string][]string{
		"two":         {good, jwt(t, header, with(claims, object{"jti": "two"}), es256(key))},
		"alg none":    {none},
		"alg HS256":   {jwt(t, with(header, object{"alg": "HS256"}), claims, es256(key))},
		"typ JWT":     {jwt(t, with(header, object{"typ": "JWT"}), claims, es256(key))},
		"no jwk":      {jwt(t, with(header, object{"jwk": nil}), claims, es256(key))},
		"private jwk": {jwt(t, with(header, object{"jwk": members(t, key)}), claims, es256(key))},
		"oct jwk":     {jwt(t, with(header, object{"jwk": object{"kty": "oct", "k": "AAAA"}}), claims, es256(key))},
		"other key":   {jwt(t, header, claims, es256(newKey(t)))},
		"crit":        {jwt(t, with(header, object{"crit": []string{"exp"}}), claims, es256(key))},
		"inside htu":  {jwt(t, header, with(claims, object{"htu": "http://inside.example:8080/o/acme/token"}), es256(key))},
	} {
		if w := send(proofs...); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_dpop_proof") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := send(good); w.Code != 200 || !strings.Contains(w.Body.String(), `"token_type":"DPoP"`) {
		t.Errorf("a good one: %d", w.Code)
	}
	offer, err = s.ResolveOffer(t.Context(), f.OfferURI(f.offer()))
	f.must(err)
	for range 4 { // to the last moment of the window
		if w := send(good); w.Code != 400 || !strings.Contains(w.Body.String(), "used already") {
			t.Errorf("replayed: %d %s", w.Code, w.Body)
		}
		f.clock.Advance(200 * time.Second)
		_, err := f.store.Prune(t.Context(), 100)
		f.must(err)
	}
}

// writes counts what is written.
type writes struct {
	issuer.Store
	n *atomic.Int32
}

func (w writes) Spend(ctx context.Context, n tidings.UsedNonce) (bool, error) {
	w.n.Add(1)
	return w.Store.Spend(ctx, n)
}

func (w writes) Transition(ctx context.Context, org int64, id string, step tidings.Step) (tidings.Issuance, error) {
	w.n.Add(1)
	return w.Store.Transition(ctx, org, id, step)
}

// Who has a code that was redeemed can fill no disk with it, and waits for no
// other's write: it is refused by looking.
func TestSpentCodeWritesNothing(t *testing.T) {
	var n atomic.Int32
	f := open(t, func(_ *issuer.Config, s *issuer.Store) { *s = writes{*s, &n} })
	s := f.bound()
	s.ask()
	before := n.Load()
	if before == 0 {
		t.Fatal("nothing is counted")
	}
	for range 3 {
		_, err := s.Redeem(t.Context(), s.issuer, s.offer)
		f.refused(err, 400, "invalid_grant")
	}
	if got := n.Load() - before; got != 0 {
		t.Errorf("there are %d writes", got)
	}
}

// Nor does a wallet that asks whether its deferred credential is there write
// anything, as it asks again and again.
func TestAskingForADeferredCredentialWritesNothing(t *testing.T) {
	var n atomic.Int32
	f := open(t, func(_ *issuer.Config, s *issuer.Store) { *s = writes{*s, &n} })
	s := f.waiting()
	id := s.ask().TransactionID
	before := n.Load()
	for range 3 {
		_, err := s.Deferred(t.Context(), s.issuer, s.token, id)
		f.must(err)
	}
	if got := n.Load() - before; before == 0 || got != 0 {
		t.Errorf("there are %d writes, after %d", got, before)
	}
}

// A DPoP proof that is wrong burns no code.
func TestWrongDPoPBurnsNothing(t *testing.T) {
	f := open(t)
	i := f.offer()
	w := f.wallet()
	offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.must(err)
	known, err := w.Discover(t.Context(), offer.Issuer)
	f.must(err)
	resp, body := f.send("POST", "/o/acme/token", map[string]string{"DPoP": "x", "Content-Type": "application/x-www-form-urlencoded"},
		"grant_type=urn:ietf:params:oauth:grant-type:pre-authorized_code&pre-authorized_code="+offer.PreAuthorizedCode)
	f.flat(resp, body, 400, "invalid_dpop_proof")
	_, err = w.WithDPoP(newKey(t)).Redeem(t.Context(), known, offer)
	f.must(err)
}

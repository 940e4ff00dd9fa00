package apptest_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// resolved makes an offer and has a wallet look at it.
func resolved(t *testing.T, p *apptest.Process, w *wallet.Wallet, more apptest.Object) (made issuance, offer *wallet.Offer, issuer *wallet.Issuer) {
	t.Helper()
	p.Call("POST", "/credentials/issuance", more, http.StatusCreated, &made)
	offer, err := w.ResolveOffer(t.Context(), made.OfferURI)
	if err != nil {
		t.Fatal(err)
	}
	if issuer, err = w.Discover(t.Context(), offer.Issuer); err != nil {
		t.Fatal(err)
	}
	return made, offer, issuer
}

// wantRefusal wants the code of a protocol error.
func wantRefusal(t *testing.T, err error, code string) {
	t.Helper()
	if p, ok := errors.AsType[*wallet.ProtocolError](err); !ok || p.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// Wrong transaction codes are counted, and refresh tokens rotate, across kills of
// the server between any two of them.
func TestKillBetweenCodesAndRefreshes(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Plain: true})
	w, ctx := newWallet(t, p.API), t.Context()
	offered := func(name string, value any) apptest.Object {
		return apptest.Object{"credentialTemplateId": templateOf(p.API, name), "attributes": apptest.Object{"name": "A"}, name: value}
	}
	kill := func() { p.Kill(); p.Start() }

	code := offered("txCode", true)
	guessed, guessedOffer, issuer := resolved(t, p, w, code)
	known, knownOffer, _ := resolved(t, p, w, code)
	waiting, waitingOffer, _ := resolved(t, p, w, offered("deferred", true))
	first, err := w.Redeem(ctx, issuer, waitingOffer)
	if err != nil {
		t.Fatal(err)
	}
	token := first
	nonce, err := w.Nonce(ctx, issuer)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := w.Proof(issuer, nonce)
	if err != nil {
		t.Fatal(err)
	}
	deferred, err := w.Request(ctx, issuer, token, waitingOffer.ConfigurationIDs[0], proof)
	if err != nil || deferred.TransactionID == "" {
		t.Fatal(deferred, err)
	}
	for range 4 {
		for _, o := range []*wallet.Offer{guessedOffer, knownOffer} {
			_, err := w.RedeemWith(ctx, issuer, o, "wrong")
			wantRefusal(t, err, "invalid_grant")
		}
		kill()
		if token, err = w.RefreshToken(ctx, issuer, token); err != nil {
			t.Fatal(err)
		}
		again, err := w.Deferred(ctx, issuer, token, deferred.TransactionID)
		if err != nil || again.TransactionID != deferred.TransactionID {
			t.Fatal(again, err)
		}
	}
	_, err = w.RefreshToken(ctx, issuer, first)
	wantRefusal(t, err, "invalid_grant")
	if _, err = w.RedeemWith(ctx, issuer, knownOffer, known.TxCode.Value); err != nil {
		t.Errorf("the right code after four wrong ones: %v", err)
	}
	_, err = w.RedeemWith(ctx, issuer, guessedOffer, "wrong")
	wantRefusal(t, err, "invalid_grant")
	kill()
	_, err = w.RedeemWith(ctx, issuer, guessedOffer, guessed.TxCode.Value)
	wantRefusal(t, err, "invalid_grant")
	var end struct {
		Status string
		Error  struct{ Code string }
	}
	p.Call("GET", "/credentials/"+guessed.ID, nil, http.StatusOK, &end)
	if end.Status != "failed" || end.Error.Code != "tx_code" {
		t.Errorf("after five wrong codes: %+v", end)
	}
	p.Call("POST", "/credentials/"+waiting.ID+"/deferral", apptest.Object{"decision": "approve"}, http.StatusOK, nil)
	kill()
	got, err := w.Deferred(ctx, issuer, token, deferred.TransactionID)
	if err != nil || len(got.Credentials) != 1 {
		t.Fatal(got, err)
	}
	if _, err := w.Verify(ctx, issuer, got.Credentials[0].Credential); err != nil {
		t.Error(err)
	}
	p.Check()
}

// A server beside which the shell rotates a key signs with the new one soon, and
// what the old one signed goes on verifying.
func TestRotateAKeyBesideAServer(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Plain: true})
	w, badge := newWallet(t, p.API), template(p.API)
	claim := func() *wallet.Held {
		t.Helper()
		var made issuance
		p.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": badge, "attributes": apptest.Object{"name": "A"}}, http.StatusCreated, &made)
		held, err := w.Claim(t.Context(), made.OfferURI)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	header := func(h *wallet.Held) string { before, _, _ := strings.Cut(h.Credential, "."); return before } // it holds the certificate
	old := claim()
	if header(claim()) != header(old) {
		t.Fatal("two credentials are signed with two keys")
	}
	issuerURL, err := url.Parse(old.Issuer.URL)
	if err != nil {
		t.Fatal(err)
	}
	if out, code := p.Command("key", "rotate", "--organisation", strings.TrimPrefix(issuerURL.Path, "/o/")); code != 0 {
		t.Fatalf("rotating ends with %d: %s", code, out)
	}
	var fresh *wallet.Held
	p.Await("the new key signs", func() bool { fresh = claim(); return header(fresh) != header(old) })
	for name, h := range map[string]*wallet.Held{"old": old, "new": fresh} {
		if _, err := w.Verify(t.Context(), h.Issuer, h.Credential); err != nil {
			t.Errorf("the %s credential: %v", name, err)
		}
	}
	p.Check()
}

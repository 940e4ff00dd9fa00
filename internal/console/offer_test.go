package console_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// makeTemplate makes a revocable template of one attribute.
func makeTemplate(a *apptest.App, name, code string) (id string) {
	var template struct{ ID string }
	a.Call("POST", "/templates/credentials", apptest.Object{"name": name, "code": code, "credentialFormat": "sd-jwt", "revocable": true,
		"attributes": apptest.Object{"holder_name": apptest.Object{"type": "string", "name": "Name", "required": true}}}, http.StatusCreated, &template)
	return template.ID
}

// holder is a wallet that has redeemed an offer.
type holder struct {
	*wallet.Wallet
	t      *testing.T
	offer  *wallet.Offer
	issuer *wallet.Issuer
	token  *wallet.Token
}

func redeem(t *testing.T, a *apptest.App, offerURI, txCode string) *holder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &holder{Wallet: wallet.New(a.HTTP, key), t: t}
	if h.offer, err = h.ResolveOffer(t.Context(), offerURI); err == nil {
		h.issuer, err = h.Discover(t.Context(), h.offer.Issuer)
	}
	if err == nil {
		h.token, err = h.RedeemWith(t.Context(), h.issuer, h.offer, txCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask asks for a credential, and gives it or the transaction to ask for it later.
func (h *holder) ask(configuration string) *wallet.Issued {
	h.t.Helper()
	nonce, err := h.Nonce(h.t.Context(), h.issuer)
	var proof string
	if err == nil {
		proof, err = h.Proof(h.issuer, nonce)
	}
	var got *wallet.Issued
	if err == nil {
		got, err = h.Request(h.t.Context(), h.issuer, h.token, configuration, proof)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

// Two credentials are offered at once, with a transaction code and to be decided
// later: the page shows the code once, tells that the wallet waits, and takes the
// decision. Then one is suspended, resumed and revoked.
func TestAnOfferOfSeveralThatIsDecidedLater(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.AcceptanceGrace = time.Hour })
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	card, badge := makeTemplate(a, "Library card", "library-card"), makeTemplate(a, "Reader badge", "reader-badge")
	b := newTab(t, a)
	b.signIn(apptest.ClientID, apptest.ClientSecret)
	b.open("/issuances/new")
	b.choose("#template", card)
	b.click("/Go on/")
	b.fill("input[name='claim."+card+".holder_name']", "Ada Example")
	b.choose("#add", badge)
	b.click("/Add it/")
	b.until("document.querySelectorAll('fieldset').length === 2 && document.querySelector(\"input[name$='.holder_name']\").value === 'Ada Example'")
	b.choose("#txCode", "numeric")
	b.click("input[name=deferred]")
	b.fill("input[name='claim."+badge+".holder_name']", " ")
	b.click("/Offer it/")
	b.sees("The template requires the attribute") // at the second credential
	b.until("document.querySelectorAll('fieldset')[1].querySelector('[aria-invalid]')")
	b.check("offer-form")
	b.fill("input[name='claim."+badge+".holder_name']", "Ada Example")
	b.click("/Offer it/")
	b.until("document.getElementById('tx-code')")
	code := must[string](b, "document.getElementById('tx-code').textContent")
	if len(code) != 6 {
		t.Errorf("the code is %q", code)
	}
	b.check("tx-code")
	b.click("/Go on to the offer/")
	b.sees("No wallet has accepted the offer yet")
	b.until("document.querySelector('svg.qr') && !document.body.innerText.includes('" + code + "')")
	offer := must[string](b, "document.getElementById('offer-link').textContent")

	h := redeem(t, a, offer, code)
	waiting := h.ask(card)
	if waiting.TransactionID == "" {
		t.Fatal("the wallet got the credential before anybody decided")
	}
	b.sees("The wallet has accepted the offer and waits.")
	b.check("issuance-deferred")
	b.open(must[string](b, "location.pathname.slice('/console'.length)")) // live again
	b.click("/Approve/")
	b.sees("Approved.")
	got, err := h.Deferred(t.Context(), h.issuer, h.token, waiting.TransactionID)
	if err != nil || len(got.Credentials) != 1 {
		t.Fatalf("after the approval the wallet gets %+v, %v", got, err)
	}
	h.ask(badge)
	b.sees("The credential was approved")
	b.click("/Suspend/")
	b.sees("Suspended.")
	b.sees("The credential was suspended")
	b.click("/Resume/")
	b.sees("Resumed.")
	b.click("/Revoke/")
	b.click("/Revoke for good/")
	b.sees("Revoked, for good.")
	b.sees("The credential was revoked")
	b.check("issuance-revoked")
}

// An offer is taken back and made again; a deferred one is denied.
func TestOffersAreCanceledReissuedAndDenied(t *testing.T) {
	a := apptest.New(t)
	card := makeTemplate(a, "Library card", "library-card")
	var made struct{ ID string }
	a.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": card, "attributes": apptest.Object{"holder_name": "Ada Example"}, "deferred": true},
		http.StatusCreated, &made)
	b := newTab(t, a)
	b.signIn(apptest.ClientID, apptest.ClientSecret)
	b.open("/issuances/" + made.ID)
	b.click("/Take the offer back/")
	b.click("/Cancel the offer/")
	b.sees("Canceled. The offer cannot be accepted any more.")
	b.sees("The issuer canceled the offer.")
	b.check("issuance-canceled")
	b.open("/issuances/" + made.ID)
	b.click("/Offer the same again/")
	b.sees("The offer is ready.")
	again := must[string](b, "location.pathname.split('/').pop()")
	if again == made.ID {
		t.Error("it is the same issuance")
	}
	b.click("/Deny/")
	b.fill("#reason", "not a reader of ours")
	b.click("/Deny it/")
	b.sees("Denied.")
	var denied struct {
		Status string
		Error  struct{ Code, Details string }
	}
	a.Call("GET", "/credentials/"+again, nil, http.StatusOK, &denied)
	if denied.Status != "failed" || denied.Error.Code != "denied" || denied.Error.Details != "not a reader of ours" {
		t.Errorf("it ended as %+v", denied)
	}
}

// A form that is sent twice makes one offer, and a step that came too late says so.
func TestAnOfferIsMadeOnce(t *testing.T) {
	a := apptest.New(t)
	card := makeTemplate(a, "Library card", "library-card")
	v := visit(t, a)
	v.signIn(apptest.ClientID, apptest.ClientSecret)
	v.get("/issuances/new?template=" + card)
	form := []string{"template", card, "once", "a-form", "claim." + card + ".holder_name", "Ada Example", "txCode", "text"}
	_, first := v.post("/issuances/new", form...)
	if !strings.Contains(first, `id="tx-code"`) {
		t.Fatalf("the code is not shown: %s", first)
	}
	answer, again := v.post("/issuances/new", form...)
	id := answer.Request.URL.Path[len("/console/issuances/"):]
	if strings.Contains(again, `id="tx-code"`) || id == "new" {
		t.Errorf("sent again, the form leads to %s", answer.Request.URL)
	}
	form[5] += " II"
	if _, other := v.post("/issuances/new", form...); !strings.Contains(other, `id="tx-code"`) {
		t.Error("another offer from the same form is not made")
	}
	var all []struct{ ID string }
	if a.Call("GET", "/credentials", nil, http.StatusOK, &all); len(all) != 2 {
		t.Errorf("%d offers were made, want 2", len(all))
	}
	if _, body := v.post("/issuances/" + id + "/cancel"); !strings.Contains(body, "Canceled.") {
		t.Errorf("it is not canceled: %s", body)
	}
	if answer, body := v.post("/issuances/" + id + "/cancel"); answer.StatusCode != http.StatusConflict || !strings.Contains(body, "the issuance has ended") {
		t.Errorf("canceled twice: %d %s", answer.StatusCode, body)
	}
	if answer, _ := v.post("/issuances/"+id+"/credentials", "change", "revoke", "credential", "another"); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("revoking a credential of nobody: %d", answer.StatusCode)
	}
	s := beside(t, a)
	reader := visit(t, a)
	reader.signIn("reader", newClient(t, s, "default", "reader", "read"))
	reader.get("/issuances/" + id)
	for _, path := range []string{"/cancel", "/decide", "/reissue", "/credentials"} {
		if answer, _ := reader.post("/issuances/" + id + path); answer.StatusCode != http.StatusForbidden {
			t.Errorf("a reader's POST %s: %d", path, answer.StatusCode)
		}
	}
}

package console_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// A template is made, a credential offered from it, and the page tells the
// wallet's steps beside the webhooks that they caused, by itself.
func TestAnIssuanceFromTemplateToWallet(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.AcceptanceGrace = time.Hour })
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	b := newTab(t, a)
	b.signIn(apptest.ClientID, apptest.ClientSecret)
	b.click("/Issuances/")
	b.sees("Nothing has been offered yet")
	b.check("issuances-first")
	b.click("/New offer/")
	b.sees("There is no template yet")
	b.click("/Make the first template/")
	b.at("/templates/new")
	b.fill("#name", "Library card")
	b.fill("#code", "library-card")
	b.fill("#background", "#1f5f4a")
	b.click("/Create/")
	b.sees("at least one attribute")
	b.fill("#a0-claim", "holder_name")
	b.click("input[name='attribute.0.required']")
	b.fill("#a1-claim", "books")
	b.choose("#a1-type", "number")
	b.check("template-form")
	b.click("/Create/")
	b.sees("Created.")
	b.check("template")
	b.open("/templates")
	b.sees("library-card")
	b.check("templates")
	b.open("/issuances/new")
	b.sees("holder_name")
	b.fill("input[name$='.holder_name']", "Ada Example")
	b.fill("input[name$='.books']", "three")
	b.click("/Offer it/")
	b.sees("This must be a number.")
	b.check("issuance-form")
	b.fill("input[name$='.books']", "3")
	b.click("/Offer it/")
	b.sees("The offer is ready.")
	b.until("document.querySelector('svg.qr')")
	b.check("issuance-offered")
	offer := must[string](b, "document.getElementById('offer-link').textContent")
	b.open(must[string](b, "location.pathname.slice('/console'.length)")) // live again

	claim(t, a, offer)
	b.sees("The wallet fetched the offer")
	b.sees("The wallet redeemed the offer's code for a token")
	b.sees("The wallet said that it accepted the credential")
	b.until("[...document.querySelectorAll('.story li')].some((l) => l.textContent.includes('accepted the credential') && l.textContent.includes('issuance.completed') && l.textContent.includes('delivered'))")
	b.check("issuance-completed")
	b.open("/events")
	b.sees("Live")
	event := a.Publish("openid4vc.issuance.offered", "seen-live")
	b.sees(event)
	b.check("events")
	b.open("/issuances")
	b.sees("completed")
	b.check("issuances")
}

// claim accepts an offer as a wallet does.
func claim(t *testing.T, a *apptest.App, offer string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	held, err := wallet.New(a.HTTP, key).Claim(t.Context(), offer)
	if err == nil {
		err = held.Notify(t.Context(), "credential_accepted")
	}
	if err != nil {
		t.Fatal(err)
	}
}

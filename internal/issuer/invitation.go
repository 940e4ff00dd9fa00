package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tidings"
	"tidings/internal/qrcode"
)

//go:embed invitation.html
var invitationHTML string

//go:embed invitation.css
var invitationCSS string

var invitationPage = template.Must(template.New("invitation").Parse(invitationHTML))

// invitationPolicy lets the page do nothing but show itself in its own style.
var invitationPolicy = func() string {
	sum := sha256.Sum256([]byte(invitationCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// invitationView is what the page shows. No claim is among it.
type invitationView struct {
	Style       template.CSS
	Title       string
	Issuer      string
	Credentials []string
	Open        bool
	Large       bool // the QR code fills the page, to be scanned from afar
	QR          template.HTML
	Link        template.URL // opens a wallet on the same device
	Until       string
	In          string
	TxCode      bool
	Refresh     int    // after how many seconds the page looks again; 0: never
	Outcome     string // what became of an offer that is no longer open
}

// invitation is the page behind an offer link: for people, who scan it or open
// it on their phone. Wallets take the link apart by themselves. Looking at it
// changes nothing.
func (s *Issuer) invitation(w http.ResponseWriter, hr *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", invitationPolicy)
	h.Set("Referrer-Policy", "no-referrer") // the address is a secret
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept")
	now := s.cfg.Now()
	query := hr.URL.Query()
	offerURL := query.Get("credential_offer_uri")
	i, err := s.invited(hr.Context(), offerURL, now)
	if err != nil {
		s.invitationRefused(w, hr, err)
		return
	}
	// Section 4.1: the custom scheme that every wallet answers to.
	link := "openid-credential-offer://?credential_offer_uri=" + url.QueryEscape(offerURL)
	open := i.State == tidings.StateOffered
	svg := ""
	if open {
		if svg, err = qrcode.SVG(link, "QR code of the credential offer"); err != nil {
			s.invitationRefused(w, hr, err)
			return
		}
	}
	if wantsImage(hr) {
		serveQR(w, svg)
		return
	}
	view := invitationView{
		Title: "Credential offer", Issuer: i.Organisation.Slug, Open: open, Large: query.Get("qr") == "true",
		QR: template.HTML(svg), Link: template.URL(link), // both made here of safe characters only
		Until: i.ExpiresAt.UTC().Format("2 January 2006, 15:04 UTC"), In: roughly(i.ExpiresAt.Sub(now)),
		Outcome: outcomes[i.State], TxCode: i.TxCode.Asked(),
	}
	if !i.State.Terminal() {
		view.Refresh = invitationRefresh
	}
	if view.Credentials, err = s.credentialNames(hr.Context(), i); err != nil {
		s.invitationRefused(w, hr, err)
		return
	}
	render(w, http.StatusOK, view)
}

// invitationRefresh is after how many seconds a page of an issuance that has not
// ended is read again. A refresh needs no script, so the policy can allow none.
const invitationRefresh = 5

// outcomes tells what became of an offer, by state.
var outcomes = map[tidings.IssuanceState]string{
	tidings.StateRedeemed:  "A wallet has opened this offer and is fetching the credential.",
	tidings.StateDeferred:  "A wallet has opened this offer and waits for the issuer's decision.",
	tidings.StateDelivered: "The credential was delivered to a wallet.",
	tidings.StateCompleted: "The credential was delivered to a wallet and accepted.",
	tidings.StateFailed:    "This offer ended without a credential. Please ask the issuer for a new one.",
	tidings.StateExpired:   "This offer has expired. Please ask the issuer for a new one.",
}

// errInvitation is for a link that is not one of ours.
var errInvitation = refuse("invalid_request", "This is not a link to a credential offer of this issuer.")

// invited gives the issuance of an offer link as it is at now.
func (s *Issuer) invited(ctx context.Context, offerURL string, now time.Time) (tidings.Issuance, error) {
	slug, id, ok := s.readOfferURL(offerURL)
	if !ok {
		return tidings.Issuance{}, errInvitation
	}
	org, err := s.organisation(ctx, slug)
	if err != nil {
		return tidings.Issuance{}, err
	}
	i, err := s.store.Issuance(ctx, org.Key, id)
	if err != nil {
		return tidings.Issuance{}, err
	}
	i, _, _ = i.Apply(tidings.Tick{}, now) // only to look at: the sweep writes it
	return i, nil
}

func (s *Issuer) credentialNames(ctx context.Context, i tidings.Issuance) ([]string, error) {
	var names []string
	for _, c := range i.Credentials {
		t, err := s.store.Template(ctx, i.Organisation.Key, c.TemplateID)
		if err != nil {
			return nil, err
		}
		names = append(names, t.Name)
	}
	return names, nil
}

// invitationRefused is the page for what cannot be shown.
func (s *Issuer) invitationRefused(w http.ResponseWriter, r *http.Request, err error) {
	p, log := told(err)
	if log && r.Context().Err() == nil {
		s.cfg.Log.ErrorContext(r.Context(), "invitation not shown", "error", err)
	}
	if p == errNotFound {
		p = errInvitation // a link to what was deleted
	}
	p.sayRetry(w.Header())
	render(w, p.status, invitationView{Title: "No offer", Outcome: p.description})
}

func render(w http.ResponseWriter, status int, view invitationView) {
	view.Style = template.CSS(invitationCSS)
	var page bytes.Buffer
	if err := invitationPage.Execute(&page, view); err != nil {
		panic(err) // the template and its view are fixed: a test renders them all
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(page.Bytes())
}

// serveQR serves the code alone, for <img src=…> in the pages and mails of
// organisations. A closed offer has none.
func serveQR(w http.ResponseWriter, svg string) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	if svg == "" {
		w.WriteHeader(http.StatusGone)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Write([]byte(svg))
}

// wantsImage tells whether an image is the first thing that is asked for, as by
// an <img>; a browser that opens the page asks for HTML first.
func wantsImage(r *http.Request) bool {
	return strings.HasPrefix(strings.TrimSpace(r.Header.Get("Accept")), "image/")
}

// roughly says how long d is, for people.
func roughly(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		switch n := int(d / u.size); {
		case n == 1:
			return "in 1 " + u.name
		case n > 1:
			return fmt.Sprintf("in %d %ss", n, u.name)
		}
	}
	return "now"
}

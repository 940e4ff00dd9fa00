package issuer_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"tidings/internal/wallet"
)

// page opens an offer link as a browser does.
func (f *front) page(link, accept string) (status int, header map[string][]string, body string) {
	f.Helper()
	resp, body := f.send("GET", strings.TrimPrefix(link, f.server.URL), map[string]string{"Accept": accept}, "")
	return resp.StatusCode, resp.Header, body
}

const browser = "text/html,application/xhtml+xml,image/avif,*/*;q=0.8"

func TestInvitation(t *testing.T) {
	f := open(t)
	i := f.offer()
	link := f.OfferURI(i)
	u, err := url.Parse(link)
	f.must(err)
	inner := url.QueryEscape(u.Query().Get("credential_offer_uri"))

	status, header, body := f.page(link, browser)
	for _, want := range []string{
		`<html lang="en">`, "acme", "Staff badge Badge", `href="openid-credential-offer://?credential_offer_uri=` + inner + `"`,
		`<meta http-equiv="refresh" content="5">`, "<svg ", "in 7 days, on 12 March 2026, 16:30 UTC",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if status != 200 || strings.Contains(body, "<script") || strings.Contains(body, canary) || strings.Contains(body, `class="large"`) {
		t.Errorf("status %d, %s", status, body)
	}
	_, style, _ := strings.Cut(body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	for name, want := range map[string]string{
		"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, _, large := f.page(link+"&qr=true", browser); !strings.Contains(large, `class="large"`) {
		t.Error("qr=true does not show the code large")
	}
	status, header, svg := f.page(link+"&qr=true", "image/avif,image/svg+xml,*/*;q=0.8")
	if status != 200 || header["Content-Type"][0] != "image/svg+xml" || !wellFormed(svg) {
		t.Errorf("image: %d %v", status, header)
	}
	// Nobody redeemed it by looking at it.
	if got := f.state(i); got.RetrievedAt != nil {
		t.Error("the page counts as a wallet")
	}
}

// A closed offer says what became of it.
func TestInvitationLater(t *testing.T) {
	f := open(t)
	outcome := func(link, want string) {
		t.Helper()
		status, _, body := f.page(link, browser)
		if status != 200 || !strings.Contains(body, want) || strings.Contains(body, "<svg") || strings.Contains(body, "openid-credential-offer:") {
			t.Errorf("status %d; want %q in\n%s", status, want, body)
		}
		if status, _, _ := f.page(link, "image/*"); status != 410 {
			t.Errorf("image of a closed offer: %d", status)
		}
	}
	expired := f.OfferURI(f.offer())
	s := f.session()
	link := f.OfferURI(s.issuance)
	outcome(link, "is fetching the credential")
	h := s.fetch()
	outcome(link, "was delivered")
	f.must(h.Notify(t.Context(), wallet.Deleted))
	outcome(link, "ended without a credential")
	if _, _, body := f.page(link, browser); strings.Contains(body, "refresh") {
		t.Error("the page of what has ended looks again")
	}
	waiting := f.waiting()
	waiting.ask()
	outcome(f.OfferURI(waiting.issuance), "waits for the issuer&#39;s decision")
	f.clock.Advance(7*24*time.Hour - time.Second)
	if _, _, body := f.page(expired, browser); !strings.Contains(body, "in 1 second, on") {
		t.Error("a second before its end the offer is not open")
	}
	f.clock.Advance(time.Second) // and no sweep
	outcome(expired, "has expired")
}

func TestInvitationOfOthers(t *testing.T) {
	f := open(t)
	link := f.OfferURI(f.offer())
	for _, bad := range []string{
		"/invitation", "/invitation?credential_offer_uri=", "/invitation?credential_offer_uri=https%3A%2F%2Fevil.example%2Fo%2Facme%2Foffers%2Fx",
		"/invitation?credential_offer_uri=" + url.QueryEscape(f.server.URL+"/o/acme/offers/x"), link + "A",
		"/invitation?credential_offer_uri=%3Cscript%3E&qr=true",
	} {
		status, header, body := f.page(bad, browser)
		if status != 400 || !strings.Contains(body, "not a link to a credential offer") || strings.Contains(body, "script") || header["Referrer-Policy"] == nil {
			t.Errorf("%s: %d", bad, status)
		}
	}
}

func wellFormed(text string) bool {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			return true
		} else if err != nil {
			return false
		}
	}
}

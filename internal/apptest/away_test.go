package apptest_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
	"tidings/internal/server"
	"tidings/internal/wallet"
)

// behind starts a server on a PostgreSQL that it reaches over a network which
// the test breaks. A statement may take a second.
func behind(t *testing.T) (*apptest.App, *pgtest.Proxy) {
	t.Helper()
	proxy := pgtest.NewProxy(t, pgtest.NewDatabase(t, pgtest.Start(t)))
	return apptest.New(t, func(c *app.Config) {
		c.Database, c.Data, c.DatabaseTimeout = proxy.URL, "", time.Second
	}), proxy
}

// While PostgreSQL is away, every route that needs it says when to come again,
// and none hangs; once it is back, all goes on without a restart.
func TestWhilePostgreSQLIsAway(t *testing.T) {
	a, proxy := behind(t)
	r := apptest.NewReceiver(t, a.CA, nil)
	a.Register(r.URL)
	accepted := []string{a.Publish(offered, "before")}
	var made issuance
	a.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": template(a.API), "attributes": apptest.Object{"name": "x"}}, http.StatusCreated, &made)
	offer, err := newWallet(t, a.API).ResolveOffer(t.Context(), made.OfferURI)
	if err != nil {
		t.Fatal(err)
	}
	session := signIn(t, a.API)
	r.Wait(2)
	for name, breaks := range map[string]func(){"it is gone": proxy.Cut, "the cable is pulled": proxy.Stall} {
		t.Run(name, func(t *testing.T) {
			breaks()
			eachRouteIsUnavailable(t, a, session, made, offer)
			proxy.Mend()
			a.Await("it is ready again", func() bool { return a.ReadyStatus() == http.StatusOK })
			accepted = append(accepted, a.Publish(offered, "again"))
			a.Call("GET", "/events", nil, http.StatusOK, nil)
		})
	}
	r.Until(func(got []apptest.Received) bool {
		have := map[string]bool{}
		for _, one := range got {
			have[one.ID()] = true
		}
		for _, id := range accepted {
			if !have[id] {
				return false
			}
		}
		return true
	})
}

// signIn signs in to the console and gives the cookies of the session.
func signIn(t *testing.T, a *apptest.API) []*http.Cookie {
	t.Helper()
	here := a.URL + "/console/sign-in"
	page, err := a.HTTP.Get(here)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	token := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindSubmatch(text)
	if err != nil || token == nil {
		t.Fatalf("%v in %s", err, text)
	}
	form := url.Values{"csrf": {string(token[1])}, "client_id": {apptest.ClientID}, "client_secret": {apptest.ClientSecret}}
	request, err := http.NewRequest("POST", here, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, cookie := range page.Cookies() {
		request.AddCookie(cookie)
	}
	answer, err := a.HTTP.Transport.RoundTrip(request) // which follows no redirects
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) == 0 {
		t.Fatalf("signing in: status %d", answer.StatusCode)
	}
	return answer.Cookies()
}

// eachRouteIsUnavailable asks routes of every sort, none of which may be
// answered from memory.
func eachRouteIsUnavailable(t *testing.T, a *apptest.App, session []*http.Cookie, i issuance, offer *wallet.Offer) {
	t.Helper()
	token, form := a.Token(), "application/x-www-form-urlencoded"
	offered, err := url.Parse(i.OfferURI)
	if err != nil {
		t.Fatal(err)
	}
	document := strings.TrimPrefix(offered.Query().Get("credential_offer_uri"), a.URL)
	var asks sync.WaitGroup
	for _, ask := range []struct{ method, path, media, body string }{
		{"GET", server.Prefix + "/events", "", ""},
		{"GET", server.Prefix + "/endpoints", "", ""},
		{"GET", server.Prefix + "/deliveries?filter[status]=failed", "", ""},
		{"GET", server.Prefix + "/credentials/" + i.ID, "", ""},
		{"POST", server.Prefix + "/events", "application/json", `{"eventType":"openid4vc.issuance.offered","payload":{"openId4VcIssuanceId":"while"}}`},
		{"POST", server.Prefix + "/endpoints", "application/json", `{"url":"https://receiver.example/"}`},
		{"GET", server.Prefix + "/events/stream", "", ""},
		{"POST", "/iam/realms/product-hub/protocol/openid-connect/token", form, "grant_type=client_credentials&client_id=other&client_secret=other-secret-0123456"},
		{"POST", "/o/default/token", form, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:pre-authorized_code"}, "pre-authorized_code": {offer.PreAuthorizedCode}}.Encode()},
		{"GET", document, "", ""},
		{"GET", "/o/other/jwks", "", ""},
		{"GET", "/o/default/vct/none", "", ""},
		{"GET", "/o/other/status/none", "", ""},
		{"GET", "/.well-known/webhook-keys/none", "", ""},
		{"GET", "/.well-known/openid-credential-issuer/o/default", "", ""},
		{"GET", "/console/endpoints", "", ""},
		{"GET", "/readyz", "", ""},
	} {
		asks.Go(func() {
			request, err := http.NewRequest(ask.method, a.URL+ask.path, strings.NewReader(ask.body))
			if err != nil {
				t.Error(err)
				return
			}
			if strings.HasPrefix(ask.path, server.Prefix) {
				request.Header.Set("Authorization", "Bearer "+token)
			}
			for _, cookie := range session {
				request.AddCookie(cookie)
			}
			if ask.media != "" {
				request.Header.Set("Content-Type", ask.media)
			}
			begun := time.Now()
			answer, err := a.HTTP.Do(request)
			if err != nil {
				t.Errorf("%s %s: after %v: %v", ask.method, ask.path, time.Since(begun), err)
				return
			}
			answer.Body.Close()
			seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
			if answer.StatusCode != http.StatusServiceUnavailable || err != nil || seconds < 1 {
				t.Errorf("%s %s: status %d, Retry-After %q", ask.method, ask.path, answer.StatusCode, answer.Header.Get("Retry-After"))
			}
		})
	}
	asks.Wait()
}

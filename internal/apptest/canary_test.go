package apptest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/server"
	"tidings/internal/wallet"
)

// secrets are texts that must not appear where they have no business, by what
// they are.
type secrets map[string]string

// foundIn gives the names of those that stand in a text, as they are or escaped
// for a URL.
func (s secrets) foundIn(text string) (names []string) {
	for name, secret := range s {
		if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
			names = append(names, name)
		}
	}
	return names
}

// listening is a wallet's client that learns the secrets that pass by.
type listening struct {
	http.RoundTripper
	mu     sync.Mutex
	bodies strings.Builder
	offers strings.Builder // those of them that are offers
}

func (l *listening) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	l.mu.Lock()
	l.bodies.Write(body)
	if strings.Contains(r.URL.Path, "/offers/") {
		l.offers.Write(body)
	}
	l.mu.Unlock()
	answer.Body = io.NopCloser(strings.NewReader(string(body)))
	return answer, err
}

// learn finds the value of a JSON member in what passed by.
func (l *listening) learn(t *testing.T, member string) string {
	t.Helper()
	m := regexp.MustCompile(`"` + member + `":"([^"]+)"`).FindStringSubmatch(l.bodies.String())
	if m == nil {
		t.Fatalf("no %s came by", member)
	}
	return m[1]
}

// provoked is what the server answered to requests that it had to refuse.
type provoked struct {
	t       *testing.T
	api     *apptest.API
	answers strings.Builder
}

// ask sends a request with headers of its own, which has to be refused.
func (p *provoked) ask(method, path, contentType, body string, header ...string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.api.URL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := p.api.HTTP.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode < 400 {
		p.t.Errorf("%s %s: status %d, %v; it has to be refused", method, path, answer.StatusCode, err)
	}
	answer.Header.Write(&p.answers)
	fmt.Fprintln(&p.answers, answer.StatusCode, string(text))
}

func TestSecretsStayWhereTheyBelong(t *testing.T) {
	const claim, urlToken, receiverSays, walletSays = "canary-claim-Zq8", "canary-url-token-Zq8", "canary-answer-Zq8", "canary-words-Zq8"
	p := apptest.Serve(t, apptest.Setup{Flags: []string{"--log-level=debug", "--retry-schedule=100ms", "--attempt-timeout=5s", "--acceptance-grace=0"}})
	receiver := apptest.NewReceiver(t, p.CA, func(w http.ResponseWriter, r *http.Request, _ apptest.Received) {
		switch r.URL.Path {
		case "/redirects":
			w.Header().Set("Location", "https://127.0.0.1/"+receiverSays)
			w.WriteHeader(http.StatusFound)
		case "/fails":
			http.Error(w, receiverSays, http.StatusInternalServerError)
		}
		io.WriteString(w, receiverSays)
	})
	known := secrets{"the client's secret": apptest.ClientSecret, "an access token": p.Token(), "a claim": claim,
		"the query of an endpoint's URL": urlToken, "what a receiver answered": receiverSays, "a wallet's own words": walletSays}
	for _, base := range []string{receiver.URL, strings.Replace(receiver.URL, "/webhooks", "/redirects", 1), strings.Replace(receiver.URL, "/webhooks", "/fails", 1),
		deadURL(t), selfSigned(t), "https://no-such-host.invalid/webhooks"} {
		id := p.Register(base + "?token=" + urlToken)
		known["the signing secret of "+id] = strings.TrimPrefix(p.Secret(id), "whsec_")
	}

	known["a transaction code"], known["the reason of a denial"] = aDenial(t, p, claim), "canary-reason-Zq8"
	tap := &listening{RoundTripper: p.HTTP.Transport}
	made := claimOnce(t, p, &http.Client{Transport: tap}, claim, walletSays)
	known["an offer's token"] = made.OfferURI[strings.LastIndex(made.OfferURI, "%2F")+3:]
	for _, member := range []string{"pre-authorized_code", "access_token", "c_nonce", "credential"} {
		known["a wallet's "+member] = tap.learn(t, member)
	}
	refusals := &provoked{t: t, api: p.API}
	provoke(refusals, known)

	p.Await("every delivery has ended", func() bool {
		all := list[struct{ Status string }](p.API, "/deliveries?filter[status]=pending")
		return len(all) == 0 && len(list[struct{}](p.API, "/deliveries")) == 24
	})
	look := func(where, text string) {
		t.Helper()
		if len(text) < 10 {
			t.Errorf("%s: %q says too little to be looked at", where, text)
		}
		if names := known.foundIn(text); names != nil {
			t.Errorf("%s: found %v", where, names)
		}
	}
	look("the log", p.Logs.String())
	look("error answers", refusals.answers.String())
	for _, got := range receiver.Received() {
		var header strings.Builder
		got.Header.Write(&header)
		look("a webhook", header.String()+string(got.Body))
	}
	for _, path := range []string{"/events", "/deliveries", "/templates/credentials", "/audit", "/event-types"} {
		look("GET "+path, string(get(t, p.API, path)))
	}
	// An issuance hands out its offer, which it exists for, and the reason of its
	// denial, to those who gave it.
	offer := url.QueryEscape("/") + known["an offer's token"]
	for _, path := range []string{"/credentials", "/credentials/" + made.ID} {
		look("GET "+path, strings.NewReplacer(offer, "", known["the reason of a denial"], "").Replace(string(get(t, p.API, path))))
	}
	for _, path := range []string{"/o/default/.well-known/openid-credential-issuer", "/o/default/vct/Badge", strings.TrimPrefix(made.OfferURI, p.URL)} {
		look("GET "+path, strings.ReplaceAll(string(raw(t, p.API, path)), offer, ""))
	}
	if text := tap.offers.String(); strings.Contains(text, claim) || !strings.Contains(text, "credential_issuer") {
		t.Errorf("offers that went to wallets: %s", text)
	}
	if out, code := p.Command("check"); code != 0 || known.foundIn(out) != nil {
		t.Errorf("tidings check ends with %d:\n%s", code, out)
	}
	for _, d := range list[struct{ ID string }](p.API, "/deliveries") {
		// The excerpt is the receiver's own answer, for the endpoint's owner.
		text := regexp.MustCompile(`"responseExcerpt":"[^"]*"`).ReplaceAllString(string(get(t, p.API, "/deliveries/"+d.ID)), "")
		look("a delivery", text)
	}
	look("/readyz", string(raw(t, p.API, "/readyz")))
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	look("the log at the end", p.Logs.String())
}

// aDenial offers two credentials that are guarded by a transaction code, has a
// wallet mistype it, and denies them for a reason. It gives the code.
func aDenial(t *testing.T, p *apptest.Process, claim string) string {
	t.Helper()
	wanted := []apptest.Object{}
	for _, code := range []string{"Deferred", "Denied"} {
		wanted = append(wanted, apptest.Object{"credentialTemplateId": templateOf(p.API, code), "attributes": apptest.Object{"name": claim}})
	}
	h := &holder{api: p.API, wallet: newWallet(t, p.API)}
	p.Call("POST", "/credentials/issuance", apptest.Object{"credentials": wanted, "deferred": true,
		"txCode": apptest.Object{"length": 12, "inputMode": "text"}}, http.StatusCreated, &h.made)
	err := atOnce(look, discover, refused("invalid_grant", enter(false)), enter(true),
		call("POST", "/deferral", apptest.Object{"decision": "deny", "reason": "canary-reason-Zq8"}, http.StatusOK))(h)
	if err != nil {
		t.Fatal(err)
	}
	return h.made.TxCode.Value
}

// claimOnce offers a credential with a claim and lets a wallet have it, which then
// says something in its own words.
func claimOnce(t *testing.T, p *apptest.Process, client *http.Client, claim, words string) (made issuance) {
	t.Helper()
	p.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": template(p.API),
		"attributes": apptest.Object{"name": claim}}, http.StatusCreated, &made)
	w := newWallet(t, &apptest.API{URL: p.URL, HTTP: client})
	held, err := w.Claim(t.Context(), made.OfferURI)
	if err != nil {
		t.Fatal(err)
	}
	if held.Claims["name"] != claim {
		t.Fatalf("the wallet holds %v", held.Claims)
	}
	if err := held.Notify(t.Context(), wallet.Accepted); err != nil {
		t.Fatal(err)
	}
	text := `{"notification_id":"` + held.NotificationID + `","event":"credential_failure","event_description":"` + words + `"}`
	r, err := http.NewRequestWithContext(t.Context(), "POST", held.Issuer.NotificationEndpoint, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+held.Token.AccessToken)
	if answer, err := client.Do(r); err != nil || answer.StatusCode != http.StatusNoContent {
		t.Fatalf("notifying once more: %v, %v", answer, err)
	}
	return made
}

// provoke has secrets come in wherever a request can be refused.
func provoke(p *provoked, known secrets) {
	const form, json = "application/x-www-form-urlencoded", "application/json"
	token, code, claim := known["an access token"], known["a wallet's pre-authorized_code"], known["a claim"]
	issuer, api, bearer := "/o/default", server.Prefix, "Bearer "+token
	oidc := "/iam/realms/product-hub/protocol/openid-connect/token"
	secret := apptest.ClientSecret

	p.ask("POST", oidc, form, "grant_type=client_credentials&client_id=nobody&client_secret="+secret)
	p.ask("POST", oidc, form, "grant_type="+secret+"&client_secret="+secret)
	p.ask("POST", oidc+"?client_secret="+secret, form, "grant_type=client_credentials")
	p.ask("GET", oidc+"?client_secret="+secret, form, "")
	p.ask("GET", api+"/events", json, "", "Authorization", bearer+"x")
	p.ask("GET", api+"/events?access_token="+token, json, "")
	p.ask("GET", api+"/events", json, "", "Authorization", "Basic "+token)
	p.ask("POST", api+"/credentials/issuance", json, `{"credentialTemplateId":"x","attributes":{"name":"`+claim+`"}}`, "Authorization", bearer)
	p.ask("POST", api+"/credentials/issuance", json, `{"attributes":{"name":["`+claim+`"]},"expiresIn":"`+claim+`"}`, "Authorization", bearer)
	p.ask("POST", api+"/credentials/issuance", json, `{"attributes":{"name":"`+claim+`"`, "Authorization", bearer)
	p.ask("POST", api+"/endpoints", json, `{"url":"http://receiver.example/?token=`+known["the query of an endpoint's URL"]+`"}`, "Authorization", bearer)
	p.ask("POST", api+"/endpoints", json, `{"url":"https://10.0.0.1/?token=`+known["the query of an endpoint's URL"]+`"}`, "Authorization", bearer)
	p.ask("GET", "/nowhere/"+known["an offer's token"]+"?token="+token, json, "")

	p.ask("GET", issuer+"/offers/"+known["an offer's token"], json, "")
	p.ask("GET", "/invitation?credential_offer_uri=https://elsewhere.example/"+known["an offer's token"], json, "")
	grant := "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Apre-authorized_code&pre-authorized_code="
	p.ask("POST", issuer+"/token", form, grant+code)
	p.ask("POST", issuer+"/token", form, grant+code+"&tx_code="+code)
	access := "Bearer " + known["a wallet's access_token"]
	p.ask("POST", issuer+"/credential", json, `{"credential_configuration_id":"`+claim+`","proofs":{"jwt":["`+known["a wallet's c_nonce"]+`"]}}`, "Authorization", access)
	p.ask("POST", issuer+"/credential", json, `{"proofs":{"jwt":["`+known["a wallet's credential"]+`"]}}`, "Authorization", access)
	p.ask("POST", issuer+"/credential", json, `{}`, "Authorization", access+"x")
	p.ask("POST", issuer+"/notification", json, `{"notification_id":"`+known["a wallet's c_nonce"]+`","event":"`+claim+`"}`, "Authorization", access)
}

// get reads an API route, which has to answer.
func get(t *testing.T, a *apptest.API, path string) []byte {
	t.Helper()
	status, answer, err := a.Request("GET", path, nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: %d, %v", path, status, err)
	}
	return answer
}

// raw reads a route outside of the API.
func raw(t *testing.T, a *apptest.API, path string) []byte {
	t.Helper()
	answer, err := a.HTTP.Get(a.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

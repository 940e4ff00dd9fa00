package issuer_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// aRoute is a route of the protocol with a request that it answers well, and
// the codes with which the specification lets it refuse one.
type aRoute struct {
	method, path string
	form         bool
	body         func(*fuzzed) object // nil: the route takes none
	codes        []string
	members      []string // of the body, to begin with
}

// The codes of RFC 6749, section 5.2, RFC 9396, section 5 and RFC 9449,
// sections 5 and 8; of RFC 6750, section 3.1; and of the sections named.
var (
	tokenCodes = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"invalid_authorization_details", "invalid_dpop_proof", "use_dpop_nonce"}
	bearerCodes     = []string{"invalid_token", "insufficient_scope", "invalid_dpop_proof", "use_dpop_nonce"}
	credentialCodes = append([]string{"invalid_credential_request", "unknown_credential_configuration", "unknown_credential_identifier", "invalid_proof",
		"invalid_nonce", "invalid_encryption_parameters", "credential_request_denied"}, bearerCodes...) // section 8.3.1
	deferredCodes     = append([]string{"invalid_transaction_id"}, credentialCodes...)                              // section 9.3
	notificationCodes = append([]string{"invalid_notification_id", "invalid_notification_request"}, bearerCodes...) // section 11.3
)

var allRoutes = []aRoute{
	{method: "GET", path: "OFFER"},
	{method: "POST", path: "/o/acme/token", form: true, codes: tokenCodes, members: []string{"grant_type", "pre-authorized_code", "tx_code", "authorization_details"}, body: func(f *fuzzed) object {
		return object{"grant_type": "urn:ietf:params:oauth:grant-type:pre-authorized_code", "pre-authorized_code": f.code()}
	}},
	{method: "POST", path: "/o/acme/nonce"},
	{method: "POST", path: "/o/acme/credential", codes: credentialCodes, members: []string{"credential_configuration_id", "credential_identifier", "proofs", "proof", "credential_response_encryption"}, body: func(f *fuzzed) object {
		return object{"credential_configuration_id": f.template.ID, "proofs": object{"jwt": []any{f.session.with(f.TB).proof()}}}
	}},
	{method: "POST", path: "/o/acme/token", form: true, codes: tokenCodes, members: []string{"refresh_token", "grant_type"}, body: func(f *fuzzed) object {
		return object{"grant_type": "refresh_token", "refresh_token": f.deferred.token.Refresh}
	}},
	{method: "POST", path: "/o/acme/deferred_credential", codes: deferredCodes, members: []string{"transaction_id"}, body: func(f *fuzzed) object {
		return object{"transaction_id": f.transaction}
	}},
	{method: "GET", path: "STATUS"},
	{method: "POST", path: "/o/acme/notification", codes: notificationCodes, members: []string{"notification_id", "event", "event_description"}, body: func(f *fuzzed) object {
		return object{"notification_id": f.notification, "event": "credential_accepted"}
	}},
	{method: "GET", path: "/.well-known/openid-credential-issuer/o/acme"},
	{method: "GET", path: "/.well-known/oauth-authorization-server/o/acme"},
	{method: "GET", path: "/.well-known/jwt-vc-issuer/o/acme"},
	{method: "GET", path: "/o/acme/jwks"},
	{method: "GET", path: "/o/acme/vct/Badge"},
	{method: "GET", path: "/o/acme/ca.pem"},
	{method: "GET", path: "/invitation"},
}

// fuzzed is an issuer with a wallet in the middle of its flow.
type fuzzed struct {
	*front
	session      *session
	notification string
	deferred     *session // whose credential waits for a decision
	transaction  string
	status       string // the path of a status list
	handler      http.Handler
}

// code gives a code that was not redeemed so far.
func (f *fuzzed) code() string {
	offer, err := f.wallet().ResolveOffer(f.Context(), f.OfferURI(f.offer()))
	f.must(err)
	return offer.PreAuthorizedCode
}

// FuzzRoutes sends requests to every route of the protocol. Each is a good one
// with one thing changed: the method, something behind the path, a header, or a
// member of its body, which may be replaced by any text.
func FuzzRoutes(f *testing.F) {
	for k, route := range allRoutes {
		n := byte(k)
		f.Add(n, "", "", "", "", "", "")
		f.Add(n, "PUT", "", "", "", "", "")
		for _, tail := range []string{"/", "//", "/%00", "?a=b&a=b", "%2f", "?qr=true&credential_offer_uri=\xff"} {
			f.Add(n, "", tail, "", "", "", "")
		}
		for _, h := range [][2]string{{"Authorization", "DPoP x"}, {"Authorization", ""}, {"Content-Type", ";"}, {"DPoP", "a.b.c"}, {"Accept-Language", "*;q=\xff"}} {
			f.Add(n, "", "", h[0], h[1], "", "")
		}
		for _, member := range route.members {
			for _, value := range []string{"", "null", "1e999", `""`, `{}`, `[null]`, `{"jwt":["a.b.c","a.b.c"]}`, `[{"type":"openid_credential"}]`} {
				f.Add(n, "", "", "", "", member, value)
			}
		}
	}
	front := open(f)
	world := &fuzzed{front: front, session: front.session(), handler: front.Issuer.Handler()}
	world.notification = world.session.fetch().NotificationID
	world.deferred = front.waiting()
	world.transaction = world.deferred.ask().TransactionID
	world.status = strings.TrimPrefix(front.placeOf(front.claimed(front.offerOf(front.revocable("Card")))).URI, front.server.URL)
	f.Fuzz(func(t *testing.T, n byte, method, tail, header, value, member, content string) {
		run := *world
		run.front = world.front.with(t)
		route := allRoutes[int(n)%len(allRoutes)]
		r := run.request(route, method, tail, member, content)
		if r == nil {
			return // no request can look like that
		}
		if header != "" {
			r.Header.Set(header, value)
		}
		w := httptest.NewRecorder()
		run.handler.ServeHTTP(w, r)
		judge(t, route, w)
	})
}

func (f *fuzzed) request(route aRoute, method, tail, member, content string) *http.Request {
	path, query, _ := strings.Cut(tail, "?")
	target := &url.URL{Scheme: "https", Host: "issuer.example", RawQuery: query}
	switch target.Path = route.path; route.path {
	case "OFFER":
		target.Path = mustPath(f.front, f.OfferURI(f.front.offer()))
	case "STATUS":
		target.Path = f.status
	}
	target.Path += path
	if method == "" {
		method = route.method
	}
	contentType, body := "application/json", ""
	if route.body != nil {
		body = change(route, route.body(f), member, content)
	}
	if route.form {
		contentType = "application/x-www-form-urlencoded"
	}
	r, err := http.NewRequestWithContext(f.Context(), method, target.String(), strings.NewReader(body))
	if err != nil {
		return nil
	}
	r.Header.Set("Content-Type", contentType)
	token := f.session.token
	if strings.Contains(route.path, "deferred") {
		token = f.deferred.token
	}
	r.Header.Set("Authorization", "Bearer "+token.AccessToken)
	return r
}

// change writes a body with one member replaced by a text, if it names one.
func change(route aRoute, body object, member, content string) string {
	if route.form {
		form := url.Values{}
		for k, v := range body {
			form.Set(k, v.(string))
		}
		if member != "" {
			form.Set(member, content)
		}
		return form.Encode()
	}
	parts := []string{}
	for k, v := range body {
		if k != member {
			name, _ := json.Marshal(k)
			text, _ := json.Marshal(v) // both were made here
			parts = append(parts, string(name)+":"+string(text))
		}
	}
	if member != "" {
		name, _ := json.Marshal(member)
		parts = append(parts, string(name)+":"+content)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// judge wants an answer that the specification knows: what was asked for, a
// refusal with one of the route's codes, or that there is nothing here.
func judge(t *testing.T, route aRoute, w *httptest.ResponseRecorder) {
	t.Helper()
	var flat struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &flat) // what is no JSON has no code
	at := route.method + " " + route.path
	switch {
	case w.Code < 400: // done, or the mux sends to a tidier path
	case w.Code >= 500:
		t.Errorf("%s: status %d: %s", at, w.Code, w.Body)
	case w.Code == http.StatusNotFound, w.Code == http.StatusMethodNotAllowed, w.Code == http.StatusRequestEntityTooLarge:
	case w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "":
		t.Errorf("%s: a 401 without a challenge", at)
	case !slices.Contains(route.codes, flat.Error) && !(route.path == "/invitation" && flat.Error == ""):
		t.Errorf("%s: status %d with the code %q: %s", at, w.Code, flat.Error, w.Body)
	}
}

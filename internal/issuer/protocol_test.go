package issuer_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings"
)

// flat asserts the form of a protocol error.
func (f *front) flat(resp *http.Response, body string, status int, code string) {
	f.Helper()
	var doc map[string]string
	err := json.Unmarshal([]byte(body), &doc)
	switch {
	case err != nil, resp.StatusCode != status, doc["error"] != code:
		f.Errorf("got %d %s; want %d with %s", resp.StatusCode, body, status, code)
	case resp.Header.Get("Cache-Control") != "no-store", resp.Header.Get("Content-Type") != "application/json":
		f.Errorf("headers of a refusal: %v", resp.Header)
	case strings.ContainsFunc(doc["error_description"], func(c rune) bool { return c < 0x20 || c > 0x7e || c == '"' || c == '\\' }):
		f.Errorf("the description holds characters that it may not: %s", body)
	}
}

func TestBadTokens(t *testing.T) {
	f := open(t)
	f.organisation("other")
	s := f.session()
	h := s.fetch()
	for _, route := range []string{"/o/acme/credential", "/o/acme/notification"} {
		resp, body := f.send("POST", route, nil, "{}")
		f.flat(resp, body, 401, "invalid_token")
		if got := resp.Header.Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("without a token, WWW-Authenticate is %q", got)
		}
		for _, header := range []string{
			"Bearer", "Bearer ", "Bearer x", "Basic " + s.token.AccessToken, "Bearer " + s.offer.PreAuthorizedCode,
			"Bearer " + changed(s.token.AccessToken), "Bearer " + s.token.AccessToken + "A", "Bearer " + h.NotificationID,
			"Bearer " + strings.Repeat("A", 10000),
		} {
			resp, body := f.send("POST", route, map[string]string{"Authorization": header}, "{}")
			f.flat(resp, body, 401, "invalid_token")
			if got := resp.Header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
				t.Errorf("WWW-Authenticate is %q", got)
			}
		}
		resp, body = f.send("POST", strings.Replace(route, "acme", "other", 1),
			map[string]string{"Authorization": "Bearer " + s.token.AccessToken}, "{}")
		f.flat(resp, body, 401, "invalid_token")
	}
}

func TestBadTokenRequests(t *testing.T) {
	f := open(t)
	f.organisation("other")
	i := f.offer()
	w := f.wallet()
	offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.must(err)
	const grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Apre-authorized_code"
	code := "&pre-authorized_code=" + offer.PreAuthorizedCode
	const formType = "application/x-www-form-urlencoded"
	for _, c := range []struct{ code, path, contentType, body string }{
		{"invalid_request", "/o/acme/token", formType, ""},
		{"invalid_request", "/o/acme/token", formType, "%zz"},
		{"invalid_request", "/o/acme/token", "application/json", grant + code},
		{"invalid_request", "/o/acme/token", formType, grant},
		{"invalid_request", "/o/acme/token", formType, grant + code + code},
		{"invalid_request", "/o/acme/token", formType, grant + code + "&tx_code=1234"},
		{"unsupported_grant_type", "/o/acme/token", formType, "grant_type=authorization_code&code=x"},
		{"invalid_grant", "/o/acme/token", formType, grant + "&pre-authorized_code=x"},
		{"invalid_grant", "/o/acme/token", formType, grant + "&pre-authorized_code=" + changed(offer.PreAuthorizedCode)},
		{"invalid_grant", "/o/other/token", formType, grant + code},
	} {
		resp, body := f.send("POST", c.path, map[string]string{"Content-Type": c.contentType}, c.body)
		f.flat(resp, body, 400, c.code)
	}
	// None of it burnt the code; what is unknown or empty is ignored.
	resp, body := f.send("POST", "/o/acme/token", map[string]string{"Content-Type": formType + "; charset=utf-8"},
		grant+code+"&tx_code=&client_id=wallet&resource=x&resource=y")
	var doc map[string]any
	f.must(json.Unmarshal([]byte(body), &doc))
	if resp.StatusCode != 200 || doc["token_type"] != "Bearer" || doc["expires_in"] != 300.0 || doc["c_nonce"] != nil || doc["authorization_details"] != nil {
		t.Errorf("token response %d: %v", resp.StatusCode, len(doc))
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
}

func TestBadNotifications(t *testing.T) {
	f := open(t)
	s := f.session()
	mine, err := json.Marshal(s.fetch().NotificationID)
	f.must(err)
	foreign, err := json.Marshal(f.session().fetch().NotificationID)
	f.must(err)
	id := `"notification_id":` + string(mine)
	for _, c := range []struct{ code, body string }{
		{"invalid_notification_request", ``},
		{"invalid_notification_request", `{}`},
		{"invalid_notification_request", `{` + id + `}`},
		{"invalid_notification_request", `{` + id + `,"event":"credential_lost"}`},
		{"invalid_notification_request", `{` + id + `,` + id + `,"event":"credential_accepted"}`},
		{"invalid_notification_id", `{"notification_id":"x","event":"credential_accepted"}`},
		{"invalid_notification_id", `{"notification_id":` + string(foreign) + `,"event":"credential_accepted"}`},
	} {
		resp, body := f.send("POST", "/o/acme/notification",
			map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + s.token.AccessToken}, c.body)
		f.flat(resp, body, 400, c.code)
	}
	f.events(s.issuance, tidings.IssuanceOffered)
	// Words in any language, of any length, do no harm.
	resp, body := f.send("POST", "/o/acme/notification",
		map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + s.token.AccessToken},
		`{`+id+`,"event":"credential_deleted","event_description":"Gelöscht \"`+strings.Repeat("x", 5000)+`"}`)
	if resp.StatusCode != 204 || body != "" {
		t.Errorf("status %d %s", resp.StatusCode, body)
	}
}

// The metadata, at both of its places, as section 12.2.4 and appendix A.3 have it.
func TestMetadata(t *testing.T) {
	f := open(t)
	base := f.IssuerURL("acme")
	for n := range 120 {
		f.newTemplate(f.org, fmt.Sprintf("T%03d", n))
	}
	resp, inserted := f.send("GET", "/.well-known/openid-credential-issuer/o/acme", nil, "")
	_, appended := f.send("GET", "/o/acme/.well-known/openid-credential-issuer", nil, "")
	if inserted != appended || resp.Header.Get("Content-Type") != "application/json" {
		t.Error("the two places differ")
	}
	var doc struct {
		Issuer         string `json:"credential_issuer"`
		Credential     string `json:"credential_endpoint"`
		Nonce          string `json:"nonce_endpoint"`
		Notification   string `json:"notification_endpoint"`
		Configurations map[string]struct {
			Metadata struct{ Claims []any } `json:"credential_metadata"`
		} `json:"credential_configurations_supported"`
	}
	f.must(json.Unmarshal([]byte(inserted), &doc))
	if doc.Issuer != base || doc.Credential != base+"/credential" || doc.Nonce != base+"/nonce" || doc.Notification != base+"/notification" {
		t.Errorf("endpoints: %+v", doc)
	}
	if len(doc.Configurations) != 121 || len(doc.Configurations[f.template.ID].Metadata.Claims) != 5 {
		t.Errorf("%d configurations, want 121", len(doc.Configurations))
	}
	var raw map[string]map[string]json.RawMessage
	_ = json.Unmarshal([]byte(inserted), &raw) // other members are no objects
	var got, want any
	f.must(json.Unmarshal(raw["credential_configurations_supported"][f.template.ID], &got))
	f.must(json.Unmarshal([]byte(`{"format":"dc+sd-jwt","vct":"`+base+`/vct/Badge","scope":"Badge",
		"cryptographic_binding_methods_supported":["jwk"],"credential_signing_alg_values_supported":["ES256"],
		"proof_types_supported":{"jwt":{"proof_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA"]}},
		"credential_metadata":{"display":[{"name":"Staff badge Badge","locale":"en","description":"Who works here"}],"claims":[
		{"path":["active"],"mandatory":false,"display":[{"name":"active","locale":"en"}]},
		{"path":["company"],"mandatory":false,"display":[{"name":"company","locale":"en"}]},
		{"path":["given_name"],"mandatory":true,"display":[{"name":"Given name","locale":"en"}]},
		{"path":["level"],"mandatory":false,"display":[{"name":"level","locale":"en"}]},
		{"path":["since"],"mandatory":false,"display":[{"name":"since","locale":"en"}]}]}}`), &want))
	same(t, got, want)

	f.document("oauth-authorization-server", `{"issuer":"`+base+`","token_endpoint":"`+base+`/token","jwks_uri":"`+base+`/jwks",
		"grant_types_supported":["urn:ietf:params:oauth:grant-type:pre-authorized_code","refresh_token"],"dpop_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA"],"response_types_supported":[],
		"token_endpoint_auth_methods_supported":["none"],"authorization_details_types_supported":["openid_credential"],
		"pre-authorized_grant_anonymous_access_supported":true}`)
	_, keys := f.send("GET", "/o/acme/jwks", nil, "")
	f.document("jwt-vc-issuer", `{"issuer":"`+base+`","jwks":`+keys+`}`)
	if strings.Contains(keys, `"d":`) {
		t.Error("a private key is published")
	}
}

// document asserts a well-known document at both of its places.
func (f *front) document(name, want string) {
	f.Helper()
	for _, path := range []string{"/.well-known/" + name + "/o/acme", "/o/acme/.well-known/" + name} {
		_, body := f.send("GET", path, nil, "")
		var g, w any
		f.must(json.Unmarshal([]byte(body), &g))
		f.must(json.Unmarshal([]byte(want), &w))
		same(f, g, w)
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

func TestTypeMetadata(t *testing.T) {
	f := open(t)
	f.newTemplate(f.organisation("other"), "Secret")
	resp, body := f.send("GET", strings.TrimPrefix(f.VCT("acme", "Badge"), f.server.URL), nil, "")
	var doc struct {
		VCT    string
		Claims []struct {
			Path    []string
			SD      string
			Display []map[string]string
		}
	}
	f.must(json.Unmarshal([]byte(body), &doc))
	if resp.StatusCode != 200 || doc.VCT != f.VCT("acme", "Badge") || len(doc.Claims) != 5 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for _, c := range doc.Claims {
		if want := map[bool]string{true: "never", false: "always"}[c.Path[0] == "company"]; c.SD != want || c.Display[0]["label"] == "" {
			t.Errorf("claim %v: %+v", c.Path, c)
		}
	}
	for _, path := range []string{"/o/acme/vct/Secret", "/o/acme/vct/x", "/o/nobody/vct/Badge"} {
		resp, body := f.send("GET", path, nil, "")
		f.flat(resp, body, 404, "not_found")
	}
}

// The structure of RFC 9901, section 4, and the certificates behind it.
func TestCredentialStructure(t *testing.T) {
	f := open(t)
	credential := f.session().fetch().Credential
	parts := strings.Split(credential, "~")
	if len(parts) != 6 || parts[5] != "" { // JWT, four disclosures, nothing
		t.Fatalf("%d parts", len(parts))
	}
	var header struct {
		Typ, Alg, Kid string
		X5C           []string
	}
	var payload map[string]any
	jwt := strings.Split(parts[0], ".")
	for n, into := range []any{&header, &payload} {
		raw, err := b64.DecodeString(jwt[n])
		f.must(err)
		f.must(json.Unmarshal(raw, into))
	}
	if header.Typ != "dc+sd-jwt" || header.Alg != "ES256" || header.Kid != "" || len(header.X5C) != 1 {
		t.Errorf("header: %+v", header)
	}
	if midnight := float64(time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC).Unix()); payload["iat"] != midnight {
		t.Errorf("iat is %v, want %v", payload["iat"], midnight)
	}
	jwk := payload["cnf"].(object)["jwk"].(object)
	digests := payload["_sd"].([]any)
	if payload["company"] != claims()["company"] || payload["given_name"] != nil || payload["_sd_alg"] != "sha-256" ||
		len(digests) != 4 || len(jwk) != 4 || jwk["d"] != nil || payload["nbf"] != nil {
		t.Errorf("payload: %v", payload)
	}
	salts := map[string]bool{}
	for n, d := range parts[1:5] {
		raw, err := b64.DecodeString(d)
		f.must(err)
		var three []any
		f.must(json.Unmarshal(raw, &three))
		salt, err := b64.DecodeString(three[0].(string))
		if err != nil || len(salt) != 16 || len(three) != 3 {
			t.Errorf("disclosure %d: %v", n, three)
		}
		salts[string(salt)] = true
		if n > 0 && digests[n-1].(string) > digests[n].(string) {
			t.Error("the digests are not sorted")
		}
	}
	if len(salts) != 4 {
		t.Error("a salt is used twice")
	}

	_, body := f.send("GET", "/o/acme/ca.pem", nil, "")
	block, _ := pem.Decode([]byte(body))
	anchor, err := x509.ParseCertificate(block.Bytes)
	f.must(err)
	der, err := base64.StdEncoding.DecodeString(header.X5C[0])
	f.must(err)
	leaf, err := x509.ParseCertificate(der)
	f.must(err)
	roots := x509.NewCertPool()
	roots.AddCert(anchor)
	for _, at := range []time.Time{time.Unix(int64(payload["iat"].(float64)), 0), f.clock.Now().AddDate(1, 11, 0)} {
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, DNSName: "127.0.0.1", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		f.must(err)
	}
	if leaf.IsCA || !anchor.IsCA || leaf.URIs[0].String() != f.IssuerURL("acme") || leaf.Subject.String() == leaf.Issuer.String() {
		t.Errorf("leaf %v of %v, %v", leaf.Subject, leaf.Issuer, leaf.URIs)
	}
}

func TestBrowserWallets(t *testing.T) {
	f := open(t)
	for path, method := range map[string]string{
		"/o/acme/token": "POST", "/o/acme/nonce": "POST", "/o/acme/credential": "POST", "/o/acme/notification": "POST",
		"/o/acme/offers/x": "GET", "/o/acme/.well-known/openid-credential-issuer": "GET", "/.well-known/oauth-authorization-server/o/acme": "GET",
	} {
		resp, _ := f.send("OPTIONS", path, map[string]string{"Origin": "https://wallet.example", "Access-Control-Request-Method": method}, "")
		h := resp.Header
		if resp.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Methods") != method ||
			!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("preflight of %s: %d %v", path, resp.StatusCode, h)
		}
		resp, body := f.send("DELETE", path, nil, "")
		f.flat(resp, body, 405, "invalid_request")
		if !strings.HasPrefix(resp.Header.Get("Allow"), method) {
			t.Errorf("Allow of %s is %q", path, resp.Header.Get("Allow"))
		}
		if resp, _ := f.send(method, path, nil, ""); resp.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s is closed to browsers", path)
		}
	}
}

func TestLimits(t *testing.T) {
	f := open(t)
	big := strings.Repeat("a", 64<<10+1)
	for _, path := range []string{"/o/acme/token", "/o/acme/nonce", "/o/acme/credential", "/o/acme/notification"} {
		resp, body := f.send("POST", path, nil, big)
		f.flat(resp, body, 413, "invalid_request")
	}
	for _, path := range []string{"/o/nobody/token", "/o/ACME/token", "/o/%2e%2e/token", "/o/acme'--/token"} {
		resp, body := f.send("POST", path, nil, "")
		f.flat(resp, body, 404, "not_found")
	}
}

// What the API is told when an offer cannot be made.
func TestOfferRefused(t *testing.T) {
	f := open(t)
	stranger := f.newTemplate(f.organisation("other"), "Badge")
	week := 7 * 24 * time.Hour
	for _, c := range []struct {
		pointer, template string
		claims            map[string]any
		life              time.Duration
	}{
		{"/credentialTemplateId", "", claims(), week},
		{"/credentialTemplateId", "nothing", claims(), week},
		{"/credentialTemplateId", stranger.ID, claims(), week},
		{"/attributes/given_name", f.template.ID, map[string]any{"level": 1.0}, week},
		{"/attributes/level", f.template.ID, map[string]any{"given_name": canary, "level": canary}, week},
		{"/expiresIn", f.template.ID, claims(), 999 * time.Millisecond},
		{"/expiresIn", f.template.ID, claims(), 91 * 24 * time.Hour},
	} {
		_, err := f.Offer(t.Context(), f.org, wanting(c.template, c.claims, c.life))
		e, ok := err.(*tidings.Error)
		if !ok || e.Kind != tidings.KindInvalid || e.Pointer != c.pointer || strings.Contains(e.Error(), canary) {
			t.Errorf("got %v, want one at %s", err, c.pointer)
		}
	}
}

// A link or code of one organisation is nothing to another.
func TestOffersStayInTheirOrganisation(t *testing.T) {
	f := open(t)
	f.organisation("other")
	path := mustPath(f, f.OfferURI(f.offer()))
	for _, bad := range []string{strings.Replace(path, "acme", "other", 1), path[:len(path)-1], path + "A", "/o/acme/offers/x"} {
		resp, body := f.send("GET", bad, nil, "")
		f.flat(resp, body, 404, "not_found")
	}
	resp, body := f.send("GET", path, nil, "")
	if resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "no-store" || strings.Contains(body, canary) {
		t.Errorf("offer: %d %v", resp.StatusCode, resp.Header)
	}
}

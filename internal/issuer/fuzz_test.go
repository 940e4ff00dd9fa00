package issuer_test

import (
	"encoding/json"
	"testing"
)

// FuzzCredential sends any body to the credential route with a token that lives.
func FuzzCredential(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[[[[`, `{"proofs":{"jwt":["a.b.c"]},"credential_configuration_id":"TEMPLATE"}`,
		`{"proofs":{"jwt":["eyJ0eXAiOiJvcGVuaWQ0dmNpLXByb29mK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7fX0.e30.AA"]},"credential_configuration_id":"TEMPLATE"}`,
		`{"proof":{"proof_type":"jwt","jwt":""},"credential_identifier":"x"}`, "{\"credential_configuration_id\":\"\xff\"}",
		`{"credential_configuration_id":"TEMPLATE","proofs":{"jwt":[null]}}`, `{"proofs":1e999}`,
	} {
		f.Add([]byte(seed))
	}
	s := open(f).session()
	f.Fuzz(func(t *testing.T, body []byte) {
		resp, text := s.f.with(t).send("POST", "/o/acme/credential", map[string]string{
			"Content-Type": "application/json", "Authorization": "Bearer " + s.token.AccessToken,
		}, string(body))
		bounded(t, resp.StatusCode, text)
	})
}

// FuzzProof sends any header and claims of a proof.
func FuzzProof(f *testing.F) {
	const head = `"typ":"openid4vci-proof+jwt","alg":"ES256"`
	for _, seed := range [][2]string{
		{`{}`, `{}`}, {`{` + head + `,"jwk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}`, `{}`},
		{`{` + head + `,"kid":"did:key:zDn"}`, `{"iat":1e400}`}, {`{` + head + `,"kid":"did:jwk:e30"}`, `[]`},
		{`{` + head + `,"x5c":["MA=="]}`, `null`}, {`{` + head + `,"x5c":"x"}`, ``}, {`{` + head + `,"jwk":{"kty":"RSA","n":"","e":""}}`, ``},
		{`{"typ":"openid4vci-proof+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"}}`, `{}`},
		{`{` + head + `,"jwk":{"kty":"EC","crv":"P-256","x":null,"y":[],"x5c":["AA=="]}}`, `{}`},
	} {
		f.Add(seed[0], seed[1])
	}
	s := open(f).session()
	f.Fuzz(func(t *testing.T, header, claims string) {
		proof := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims)) + "." + b64.EncodeToString(make([]byte, 64))
		s.f.with(t).refused(s.with(t).request(proof), 400, "invalid_proof")
	})
}

// FuzzToken sends any body to the token route.
func FuzzToken(f *testing.F) {
	for _, seed := range []string{
		``, `%`, `grant_type=urn:ietf:params:oauth:grant-type:pre-authorized_code&pre-authorized_code=x`,
		`grant_type=urn:ietf:params:oauth:grant-type:pre-authorized_code&pre-authorized_code=%00&authorization_details=[`, `a;b`, `=&=`,
	} {
		f.Add([]byte(seed))
	}
	front := open(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		resp, text := front.with(t).send("POST", "/o/acme/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, string(body))
		bounded(t, resp.StatusCode, text)
	})
}

// bounded asserts that bad input gives a refusal of the protocol.
func bounded(t *testing.T, status int, body string) {
	t.Helper()
	var flat struct {
		Error string `json:"error"`
	}
	if status < 400 || status > 499 || json.Unmarshal([]byte(body), &flat) != nil || flat.Error == "" {
		t.Errorf("status %d: %s", status, body)
	}
}

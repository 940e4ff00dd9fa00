package issuer_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

type object = map[string]any

var b64 = base64.RawURLEncoding

// jwt writes a JWT by hand, so that its header may hold anything.
func jwt(t *testing.T, header, claims object, sign func(input string) []byte) string {
	t.Helper()
	part := func(v object) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64.EncodeToString(text)
	}
	input := part(header) + "." + part(claims)
	return input + "." + b64.EncodeToString(sign(input))
}

// es256 signs as RFC 7518, section 3.4 has it.
func es256(key *ecdsa.PrivateKey) func(string) []byte {
	return func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func members(t *testing.T, key any) object {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var out object
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// with gives a copy of o with changes; nil takes a member away.
func with(o, changes object) object {
	o = maps.Clone(o)
	for k, v := range changes {
		if o[k] = v; v == nil {
			delete(o, k)
		}
	}
	return o
}

// changed gives text with its first character changed.
func changed(text string) string {
	if text[0] == 'A' {
		return "B" + text[1:]
	}
	return "A" + text[1:]
}

func certificate(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// Every way in which a proof can be bad, by itself, with its code.
func TestBadProofs(t *testing.T) {
	f := open(t)
	other := f.organisation("other")
	s := f.session()
	key, stranger := newKey(t), newKey(t)
	now := f.clock.Now().Unix()
	nonce, err := s.Nonce(t.Context(), s.issuer)
	f.must(err)
	foreign, err := s.Discover(t.Context(), f.IssuerURL(other.Slug))
	f.must(err)
	foreignNonce, err := s.Nonce(t.Context(), foreign)
	f.must(err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	f.must(err)

	header := object{"typ": "openid4vci-proof+jwt", "alg": "ES256", "jwk": members(t, &key.PublicKey)}
	body := object{"aud": f.IssuerURL("acme"), "iat": now, "nonce": nonce}
	const proof, stale = "invalid_proof", "invalid_nonce"
	for name, c := range map[string]struct {
		code         string
		header, body object
		key          *ecdsa.PrivateKey
	}{
		"no typ":              {proof, object{"typ": nil}, nil, key},
		"typ JWT":             {proof, object{"typ": "JWT"}, nil, key},
		"alg none":            {proof, object{"alg": "none"}, nil, key},
		"alg HS256":           {proof, object{"alg": "HS256"}, nil, key},
		"alg RS256":           {proof, object{"alg": "RS256"}, nil, key},
		"alg of other curve":  {proof, object{"alg": "ES384"}, nil, key},
		"key of other curve":  {proof, object{"jwk": members(t, &p384.PublicKey)}, nil, key},
		"no key":              {proof, object{"jwk": nil}, nil, key},
		"jwk and kid":         {proof, object{"kid": "a"}, nil, key},
		"jwk and x5c":         {proof, object{"x5c": []string{certificate(t, key)}}, nil, key},
		"private jwk":         {proof, object{"jwk": members(t, key)}, nil, key},
		"symmetric jwk":       {proof, object{"jwk": object{"kty": "oct", "k": "AAAA"}}, nil, key},
		"jwk no object":       {proof, object{"jwk": "x"}, nil, key},
		"point off curve":     {proof, object{"jwk": with(members(t, &key.PublicKey), object{"x": b64.EncodeToString(make([]byte, 32))})}, nil, key},
		"kid of nothing":      {proof, object{"jwk": nil, "kid": "key-1"}, nil, key},
		"kid of the web":      {proof, object{"jwk": nil, "kid": "did:web:localhost"}, nil, key},
		"kid no string":       {proof, object{"jwk": nil, "kid": 1}, nil, key},
		"kid bad did:key":     {proof, object{"jwk": nil, "kid": "did:key:z0OIl"}, nil, key},
		"kid short did:key":   {proof, object{"jwk": nil, "kid": "did:key:z6Mk"}, nil, key},
		"x5c empty":           {proof, object{"jwk": nil, "x5c": []string{}}, nil, key},
		"x5c garbage":         {proof, object{"jwk": nil, "x5c": []string{"AAAA"}}, nil, key},
		"critical header":     {proof, object{"crit": []string{"b64"}, "b64": false}, nil, key},
		"signed by another":   {proof, nil, nil, stranger},
		"no aud":              {proof, nil, object{"aud": nil}, key},
		"other aud":           {proof, nil, object{"aud": f.IssuerURL("other")}, key},
		"aud with slash":      {proof, nil, object{"aud": f.IssuerURL("acme") + "/"}, key},
		"no iat":              {proof, nil, object{"iat": nil}, key},
		"iat text":            {proof, nil, object{"iat": "now"}, key},
		"iat long ago":        {proof, nil, object{"iat": now - 301}, key},
		"iat in the future":   {proof, nil, object{"iat": now + 301}, key},
		"expired":             {proof, nil, object{"exp": now - 301}, key},
		"not valid yet":       {proof, nil, object{"nbf": now + 301}, key},
		"no nonce":            {proof, nil, object{"nonce": nil}, key},
		"empty nonce":         {stale, nil, object{"nonce": ""}, key},
		"made-up nonce":       {stale, nil, object{"nonce": "wKI4LT17ac15ES9bw8ac4"}, key},
		"nonce of other org":  {stale, nil, object{"nonce": foreignNonce}, key},
		"nonce changed":       {stale, nil, object{"nonce": changed(nonce)}, key},
		"token as nonce":      {stale, nil, object{"nonce": s.token.AccessToken}, key},
		"old iat, bad nonce":  {stale, nil, object{"iat": now - 3600, "nonce": "x"}, key},
		"nonce long as a day": {stale, nil, object{"nonce": strings.Repeat("A", 5000)}, key},
	} {
		t.Run(name, func(t *testing.T) {
			text := jwt(t, with(header, c.header), with(body, c.body), es256(c.key))
			f.with(t).refused(s.request(text), 400, c.code)
		})
	}
	t.Run("HMAC with the public key", func(t *testing.T) {
		text := jwt(t, with(header, object{"alg": "HS256"}), body, func(input string) []byte {
			mac := hmac.New(sha256.New, elliptic.Marshal(key.Curve, key.X, key.Y))
			mac.Write([]byte(input))
			return mac.Sum(nil)
		})
		f.refused(s.request(text), 400, proof)
	})
	for _, text := range []string{"", ".", "..", "a.b.c", "eyJhbGciOiJFUzI1NiJ9"} {
		f.refused(s.request(text), 400, proof)
	}
	// None of it burnt anything.
	f.must(s.request(jwt(t, header, body, es256(key))))
}

// The other ways to name the key, and what wallets in production add.
func TestGoodProofs(t *testing.T) {
	f := open(t)
	s := f.session()
	key := newKey(t)
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	f.must(err)
	jwk, err := json.Marshal(members(t, &key.PublicKey))
	f.must(err)
	ed := func(input string) []byte { return ed25519.Sign(edPrivate, []byte(input)) }
	p256 := append([]byte{0x80, 0x24}, elliptic.MarshalCompressed(key.Curve, key.X, key.Y)...)

	for name, c := range map[string]struct {
		header object
		body   object
		sign   func(string) []byte
	}{
		"jwk":             {object{"jwk": members(t, &key.PublicKey)}, nil, es256(key)},
		"jwk and its kid": {object{"jwk": with(members(t, &key.PublicKey), object{"kid": "mine", "use": "sig"})}, nil, es256(key)},
		"EdDSA":           {object{"alg": "EdDSA", "jwk": members(t, edPublic)}, nil, ed},
		"x5c":             {object{"x5c": []string{certificate(t, key)}}, nil, es256(key)},
		"did:jwk":         {object{"kid": "did:jwk:" + b64.EncodeToString(jwk) + "#0"}, nil, es256(key)},
		"did:key P-256":   {object{"kid": "did:key:z" + base58(p256)}, nil, es256(key)},
		"did:key Ed25519": {object{"alg": "EdDSA", "kid": "did:key:z" + base58(append([]byte{0xed, 0x01}, edPublic...)) + "#x"}, nil, ed},
		"iss is ignored":  {object{"jwk": members(t, &key.PublicKey)}, object{"iss": "some client"}, es256(key)},
		"aud is an array": {object{"jwk": members(t, &key.PublicKey)}, object{"aud": []string{"x", f.IssuerURL("acme")}}, es256(key)},
		"iat is a bit off": {object{"jwk": members(t, &key.PublicKey)},
			object{"iat": float64(f.clock.Now().Unix()) + 299.5}, es256(key)},
	} {
		t.Run(name, func(t *testing.T) {
			nonce, err := s.Nonce(t.Context(), s.issuer)
			if err != nil {
				t.Fatal(err)
			}
			header := with(object{"typ": "openid4vci-proof+jwt", "alg": "ES256"}, c.header)
			body := with(object{"aud": f.IssuerURL("acme"), "iat": f.clock.Now().Unix(), "nonce": nonce}, c.body)
			if err := s.request(jwt(t, header, body, c.sign)); err != nil {
				t.Error(err)
			}
		})
	}
}

func base58(b []byte) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	n, mod, out := new(big.Int).SetBytes(b), new(big.Int), ""
	for n.Sign() > 0 {
		n.DivMod(n, big.NewInt(58), mod)
		out = string(alphabet[mod.Int64()]) + out
	}
	return out
}

func TestExpiredNonce(t *testing.T) {
	f := open(t)
	early := f.session()
	nonce, err := early.Nonce(t.Context(), early.issuer)
	f.must(err)
	f.clock.Advance(5 * time.Minute)
	s := f.session() // a token that lives
	proof, err := s.Proof(s.issuer, nonce)
	f.must(err)
	f.refused(s.request(proof), 400, "invalid_nonce")
	f.must(s.request(s.proof()))
}

// What else can be wrong with a credential request.
func TestBadCredentialRequests(t *testing.T) {
	f := open(t)
	f.organisation("other")
	s := f.session()
	id := `"credential_configuration_id":"` + f.template.ID + `"`
	proofs := `"proofs":{"jwt":["` + s.proof() + `"]}`
	const jsonType = "application/json"
	for _, c := range []struct{ code, contentType, body string }{
		{"invalid_credential_request", jsonType, ``},
		{"invalid_credential_request", jsonType, `[]`},
		{"invalid_credential_request", jsonType, `{`},
		{"invalid_credential_request", jsonType, `{` + proofs + `}`},
		{"invalid_credential_request", jsonType, `{` + id + `,` + id + `,` + proofs + `}`},
		{"invalid_credential_request", jsonType, `{` + id + `,"credential_identifier":"x",` + proofs + `}`},
		{"invalid_credential_request", "text/plain", `{` + id + `,` + proofs + `}`},
		{"unknown_credential_configuration", jsonType, `{"credential_configuration_id":"x",` + proofs + `}`},
		{"unknown_credential_identifier", jsonType, `{"credential_identifier":"x",` + proofs + `}`},
		{"invalid_encryption_parameters", jsonType, `{` + id + `,` + proofs + `,"credential_response_encryption":{"enc":"A128GCM"}}`},
		{"invalid_encryption_parameters", "application/jwt", `a.b.c.d.e`},
		{"invalid_proof", jsonType, `{` + id + `}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":null}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":[]}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":{}}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":{"jwt":[]}}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":{"jwt":"a"}}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":{"jwt":[1]}}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":{"jwt":["a","b"]}}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":{"di_vp":["a"]}}`},
		{"invalid_proof", jsonType, `{` + id + `,"proofs":{"jwt":["a"],"di_vp":["a"]}}`},
		{"invalid_proof", jsonType, `{` + id + `,"proof":{"proof_type":"ldp_vp"}}`},
		{"invalid_proof", jsonType, `{` + id + `,` + proofs + `,"proof":{"proof_type":"jwt"}}`},
	} {
		resp, body := f.send("POST", "/o/acme/credential", map[string]string{
			"Content-Type": c.contentType, "Authorization": "Bearer " + s.token.AccessToken,
		}, c.body)
		f.flat(resp, body, 400, c.code)
	}
	// The one proof of drafts before 1.0 is taken.
	resp, body := f.send("POST", "/o/acme/credential", map[string]string{
		"Content-Type": jsonType, "Authorization": "bearer " + s.token.AccessToken,
	}, `{`+id+`,"proof":{"proof_type":"jwt","jwt":"`+s.proof()+`"}}`)
	if resp.StatusCode != 200 {
		t.Errorf("legacy proof: status %d: %s", resp.StatusCode, body)
	}
}

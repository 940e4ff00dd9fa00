package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func mustPublicKey(t testing.TB, text string) PublicKey {
	t.Helper()
	k, err := ParsePublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustSigningKey(t testing.TB, text string) SigningKey {
	t.Helper()
	k, err := ParseSigningKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func withKeys(t testing.TB, s *Signer, keys ...SigningKey) *Signer {
	t.Helper()
	with, err := s.WithKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return with
}

func TestParsePublicKey(t *testing.T) {
	text := func(n int) string {
		return "whpk_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xa5}, n))
	}
	for name, row := range map[string]struct {
		text string
		ok   bool
	}{
		"published":         {vectorPublicKey, true},
		"32 bytes":          {text(32), true},
		"31 bytes":          {text(31), false},
		"33 bytes":          {text(33), false},
		"zero":              {"whpk_" + base64.StdEncoding.EncodeToString(make([]byte, 32)), false},
		"nothing":           {"", false},
		"only the prefix":   {"whpk_", false},
		"of a secret":       {vectorSecret, false},
		"of a signing key":  {vectorSigningKey, false},
		"line end":          {vectorPublicKey + "\n", false},
		"line end inside":   {vectorPublicKey[:9] + "\n" + vectorPublicKey[9:], false},
		"no padding":        {strings.TrimRight(vectorPublicKey, "="), false},
		"stray last bits":   {text(32)[:len(text(32))-2] + "V=", false},
		"base64url of JWKs": {"whpk_11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", false},
	} {
		k, err := ParsePublicKey(row.text)
		if (err == nil) != row.ok || err != nil && !errors.Is(err, ErrPublicKey) {
			t.Errorf("%s: %v", name, err)
		}
		if row.ok && k.String() != row.text || !row.ok && k.String() != "" {
			t.Errorf("%s: prints as %q", name, k)
		}
	}
}

func TestParseSigningKey(t *testing.T) {
	pair, err := base64.StdEncoding.DecodeString(vectorSigningKey[5:])
	if err != nil {
		t.Fatal(err)
	}
	text := func(raw []byte) string { return "whsk_" + base64.StdEncoding.EncodeToString(raw) }
	torn := bytes.Clone(pair)
	torn[63] ^= 1
	for name, row := range map[string]struct {
		text string
		ok   bool
	}{
		"published":       {vectorSigningKey, true},
		"seed alone":      {text(pair[:32]), true},
		"torn halves":     {text(torn), false},
		"33 bytes":        {text(pair[:33]), false},
		"nothing":         {"", false},
		"only the prefix": {"whsk_", false},
		"a secret":        {vectorSecret, false},
		"redacted":        {signingKeyRedacted, false},
		"line end":        {vectorSigningKey + "\n", false},
	} {
		k, err := ParseSigningKey(row.text)
		if (err == nil) != row.ok || err != nil && !errors.Is(err, ErrSigningKey) {
			t.Errorf("%s: %v", name, err)
		}
		if row.ok && (k.Reveal() != vectorSigningKey || k.PublicKey().String() != vectorPublicKey) {
			t.Errorf("%s: another key: %s", name, k.PublicKey())
		}
		if err != nil && len(row.text) > 20 && strings.Contains(err.Error(), row.text[10:20]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if (SigningKey{}).Reveal() != "" || !(SigningKey{}).PublicKey().IsZero() || NewSigningKey().Reveal() == NewSigningKey().Reveal() {
		t.Error("zero and new keys")
	}
}

func TestKeyText(t *testing.T) {
	var config struct {
		Public  PublicKey
		Signing SigningKey
	}
	source := `{"Public":"` + vectorPublicKey + `","Signing":"` + vectorSigningKey + `"}`
	if err := json.Unmarshal([]byte(source), &config); err != nil {
		t.Fatal(err)
	}
	if config.Public != config.Signing.PublicKey() {
		t.Error("another key")
	}
	encoded, err := json.Marshal(config)
	if err != nil || string(encoded) != `{"Public":"`+vectorPublicKey+`","Signing":"whsk_***"}` {
		t.Errorf("%s, %v", encoded, err)
	}
	if err := json.Unmarshal(encoded, &config); !errors.Is(err, ErrSigningKey) {
		t.Errorf("a redacted key is read: %v", err)
	}
	if err := json.Unmarshal([]byte(`{"Public":"x"}`), &config); !errors.Is(err, ErrPublicKey) {
		t.Errorf("%v", err)
	}
}

// TestSigningKeyDoesNotLeak prints, logs and encodes a key in every way that
// somebody might, also inside of other values.
func TestSigningKeyDoesNotLeak(t *testing.T) {
	key := mustSigningKey(t, vectorSigningKey)
	type hidden struct{ k SigningKey }
	var out bytes.Buffer
	text, jsonLog := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{
		key, &key, []SigningKey{key}, hidden{key}, &hidden{key}, struct{ K SigningKey }{key},
		withKeys(t, mustSigner(t, NewSecret()), key),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%t", "%U"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text.Info("m", "v", v)
		jsonLog.Info("m", "v", v)
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	seed := key.private()[:4]
	for _, leak := range []string{vectorSigningKey[5:15], hex.EncodeToString(seed), strings.Trim(fmt.Sprint(seed), "[]"), string(seed), "0xe9, 0x76"} {
		if i := strings.Index(strings.ToLower(out.String()), strings.ToLower(leak)); i >= 0 {
			t.Errorf("leaks %q: %q", leak, out.String()[max(0, i-80):i+20])
		}
	}
}

func TestSignEd25519PublishedVector(t *testing.T) {
	s := withKeys(t, mustSigner(t, mustSecret(t, vectorSecret)), mustSigningKey(t, vectorSigningKey))
	got, err := s.Sign(vectorID, time.Unix(vectorSeconds, 999), []byte(vectorBody))
	if want := vectorSignature + " " + vectorEd25519; err != nil || got != want {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

func TestSignerWithKeys(t *testing.T) {
	plain := mustSigner(t, NewSecret(), NewSecret())
	for _, keys := range [][]SigningKey{nil, {{}}, {NewSigningKey(), {}}} {
		if _, err := plain.WithKeys(keys...); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%d keys: %v", len(keys), err)
		}
	}
	first := withKeys(t, plain, NewSigningKey())
	second := withKeys(t, first, NewSigningKey())
	other := withKeys(t, first, NewSigningKey())
	schemes := func(s *Signer) (schemes string) {
		text, err := s.Sign("e1", time.Unix(0, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(text, " ") {
			scheme, _, _ := strings.Cut(part, ",")
			schemes += scheme + " "
		}
		return schemes
	}
	for want, s := range map[string]*Signer{"v1 v1 ": plain, "v1 v1 v1a ": first, "v1 v1 v1a v1a ": second} {
		if got := schemes(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if second.signingKeys[1].Reveal() == other.signingKeys[1].Reveal() {
		t.Error("two Signers share their keys")
	}
}

func TestVerifyEd25519(t *testing.T) {
	public, other := mustPublicKey(t, vectorPublicKey), NewSigningKey().PublicKey()
	secret := mustSecret(t, vectorSecret)
	both := vectorSignature + " " + vectorEd25519
	forged := "v1a," + base64.StdEncoding.EncodeToString(make([]byte, 64))
	for name, row := range map[string]struct {
		v         Verifier
		signature string
		body      string
		want      error
	}{
		"published":                {Verifier{PublicKeys: []PublicKey{public}}, vectorEd25519, vectorBody, nil},
		"after v1":                 {Verifier{PublicKeys: []PublicKey{public}}, both, vectorBody, nil},
		"second key":               {Verifier{PublicKeys: []PublicKey{other, public}}, both, vectorBody, nil},
		"after forged ones":        {Verifier{PublicKeys: []PublicKey{public}}, forged + " v1a,x " + both, vectorBody, nil},
		"secret or key":            {Verifier{Secrets: []Secret{NewSecret()}, PublicKeys: []PublicKey{public}}, both, vectorBody, nil},
		"key or secret":            {Verifier{Secrets: []Secret{secret}, PublicKeys: []PublicKey{other}}, vectorSignature, vectorBody, nil},
		"v1 beside it":             {Verifier{Secrets: []Secret{secret}}, vectorEd25519 + " " + vectorSignature, vectorBody, nil},
		"another key":              {Verifier{PublicKeys: []PublicKey{other}}, both, vectorBody, ErrNoMatch},
		"another body":             {Verifier{PublicKeys: []PublicKey{public}}, both, vectorBody + " ", ErrNoMatch},
		"only v1":                  {Verifier{PublicKeys: []PublicKey{public}}, vectorSignature, vectorBody, ErrNoMatch},
		"only v1a":                 {Verifier{Secrets: []Secret{secret}}, vectorEd25519, vectorBody, ErrNoMatch},
		"v1a called v1":            {Verifier{PublicKeys: []PublicKey{public}}, "v1," + vectorEd25519[4:], vectorBody, ErrNoMatch},
		"behind too many":          {Verifier{PublicKeys: []PublicKey{public}}, strings.Repeat(forged+" ", 4) + vectorEd25519, vectorBody, ErrNoMatch},
		"zero key":                 {Verifier{PublicKeys: []PublicKey{public, {}}}, both, vectorBody, ErrNoSecret},
		"zero key beside a secret": {Verifier{Secrets: []Secret{secret}, PublicKeys: []PublicKey{{}}}, both, vectorBody, ErrNoSecret},
	} {
		row.v.Now = at(vectorSeconds)
		if err := row.v.Verify(rawHeader(vectorID, vectorSeconds, row.signature), []byte(row.body)); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
}

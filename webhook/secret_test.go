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
)

func TestParseSecret(t *testing.T) {
	text := func(n int) string {
		return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xa5}, n))
	}
	for _, row := range []struct {
		name, text string
		ok         bool
	}{
		{"published", vectorSecret, true},
		{"24 bytes", text(24), true},
		{"32 bytes", text(32), true},
		{"64 bytes", text(64), true},
		{"23 bytes", text(23), false},
		{"65 bytes", text(65), false},
		{"empty", "", false},
		{"prefix only", "whsec_", false},
		{"no prefix", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false},
		{"other prefix", "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false},
		{"upper-case prefix", "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false},
		{"line end", vectorSecret + "\n", false},
		{"line end inside", vectorSecret[:12] + "\n" + vectorSecret[12:], false},
		{"space", " " + vectorSecret, false},
		{"padding missing", strings.TrimRight(text(32), "="), false},
		{"url alphabet", "whsec_" + strings.Repeat("-_", 16), false},
		{"stray last bits", text(32)[:len(text(32))-2] + "V=", false},
		{"redacted", secretRedacted, false},
	} {
		s, err := ParseSecret(row.text)
		if (err == nil) != row.ok {
			t.Errorf("%s: error %v", row.name, err)
		}
		if err != nil && !errors.Is(err, ErrSecret) {
			t.Errorf("%s: %v does not wrap ErrSecret", row.name, err)
		}
		if row.ok && s.Reveal() != row.text {
			t.Errorf("%s: Reveal gives another text", row.name)
		}
		if err != nil && len(row.text) > 20 && strings.Contains(err.Error(), row.text[10:20]) {
			t.Errorf("%s: the error shows the secret: %v", row.name, err)
		}
	}
}

func TestNewSecret(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a.Reveal() == b.Reveal() {
		t.Fatal("two new secrets are the same")
	}
	if len(a.bytes()) != 32 {
		t.Fatalf("a new secret has %d bytes", len(a.bytes()))
	}
	mustSecret(t, a.Reveal())
}

// TestSecretDoesNotLeak prints, logs and encodes a secret in every way that
// somebody might, also inside of other values.
func TestSecretDoesNotLeak(t *testing.T) {
	secret := mustSecret(t, vectorSecret)
	type exported struct{ S Secret }
	type hidden struct {
		s  Secret
		l  []Secret
		pt *Secret
	}
	values := []any{
		secret, &secret, []Secret{secret}, map[string]Secret{"k": secret},
		exported{secret}, &exported{secret}, hidden{secret, []Secret{secret}, &secret},
		&Verifier{Secrets: []Secret{secret}}, mustSigner(t, secret),
	}
	var out bytes.Buffer
	text := slog.New(slog.NewTextHandler(&out, nil))
	jsonLog := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%t", "%U"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		text.Info("m", "v", v)
		if _, isVerifier := v.(*Verifier); !isVerifier { // json refuses its func field
			if err := json.NewEncoder(&out).Encode(v); err != nil {
				t.Fatal(err)
			}
		}
		jsonLog.Info("m", "v", v)
	}
	decimal := strings.Trim(fmt.Sprint(secret.bytes()[:4]), "[]")
	for _, leak := range []string{vectorSecret[6:16], hex.EncodeToString(secret.bytes()[:4]), decimal, string(secret.bytes()[:4]), "0x31, 0xf2"} {
		if i := strings.Index(strings.ToLower(out.String()), strings.ToLower(leak)); i >= 0 {
			t.Errorf("leaks %q: %q", leak, out.String()[max(0, i-80):i+20])
		}
	}
}

func TestSecretText(t *testing.T) {
	var config struct{ Secret Secret }
	if err := json.Unmarshal([]byte(`{"Secret":"`+vectorSecret+`"}`), &config); err != nil {
		t.Fatal(err)
	}
	if config.Secret.Reveal() != vectorSecret {
		t.Error("another secret")
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if string(encoded) != `{"Secret":"whsec_***"}` {
		t.Errorf("encodes as %s", encoded)
	}
	if err := json.Unmarshal(encoded, &config); !errors.Is(err, ErrSecret) {
		t.Errorf("a redacted secret is read: %v", err)
	}
	if (Secret{}).Reveal() != "" || !(Secret{}).IsZero() {
		t.Error("the zero Secret is not empty")
	}
}

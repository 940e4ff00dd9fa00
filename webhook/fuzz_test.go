package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzParseSignatures: whatever a header holds, the work is bounded and only
// whole v1 and v1a signatures come out, each in its one spelling.
func FuzzParseSignatures(f *testing.F) {
	for _, seed := range []string{
		"", " ", ",", "v1", "v1,", vectorSignature, vectorSignature + " " + vectorSignature,
		"v1a,AAAA " + vectorSignature, strings.Repeat(vectorSignature+" ", 20), "v1,\x00", "v1,ä v1,,,",
		vectorEd25519, vectorSignature + " " + vectorEd25519, strings.Repeat(vectorEd25519+" ", 9), vectorEd25519[:91] + "\n",
		"v1a," + strings.Repeat("\n", 88), "v1a," + strings.Repeat("A", 85) + "B==", "\t" + vectorSignature, strings.Repeat(" ", 100) + vectorSignature,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		macs, edwards := parseSignatures(header)
		if len(macs)+len(edwards) > maxSignatures || len(edwards) > maxEd25519 {
			t.Fatalf("%d and %d signatures", len(macs), len(edwards))
		}
		tokens := strings.Split(header, " ")
		for _, signature := range macs {
			if len(signature) != encodedSumLength || !slices.Contains(tokens, "v1,"+signature) {
				t.Fatalf("%q is not in %q", signature, header)
			}
		}
		for _, raw := range edwards {
			text := "v1a," + base64.StdEncoding.EncodeToString(raw)
			if len(raw) != ed25519.SignatureSize || !slices.Contains(tokens, text) {
				t.Fatalf("%q is not in %q", text, header)
			}
		}
	})
}

// FuzzVerify: nothing verifies here that the public library refuses, and
// nothing crashes.
func FuzzVerify(f *testing.F) {
	const seconds = "1614265330"
	f.Add(vectorID, seconds, vectorSignature, []byte(vectorBody))
	f.Add(vectorID, seconds, "v1a,x "+vectorSignature+" v2,", []byte(vectorBody))
	f.Add("a.b", "0", "v1,", []byte(nil))
	f.Add("", "-1", " ", []byte("{}"))
	f.Add("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330", "1", vectorSignature, []byte(vectorBody))
	f.Add(vectorID, "1614265330.", vectorSignature, []byte(vectorBody))
	secret := mustSecret(f, vectorSecret)
	wh := foreign(f, secret)
	f.Fuzz(func(t *testing.T, id, stamp, signature string, body []byte) {
		h := http.Header{}
		h.Set(HeaderID, id)
		h.Set(HeaderTimestamp, stamp)
		h.Set(HeaderSignature, signature)
		v := &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds), Tolerance: 1000 * time.Hour}
		if v.Verify(h, body) == nil {
			if err := wh.VerifyIgnoringTimestamp(body, h); err != nil {
				t.Fatalf("verifies here, and there: %v", err)
			}
		}
	})
}

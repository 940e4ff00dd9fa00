package webhook

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzParseSignatures: whatever a header holds, the work is bounded and only
// whole v1 signatures come out.
func FuzzParseSignatures(f *testing.F) {
	for _, seed := range []string{
		"", " ", ",", "v1", "v1,", vectorSignature, vectorSignature + " " + vectorSignature,
		"v1a,AAAA " + vectorSignature, strings.Repeat(vectorSignature+" ", 20), "v1,\x00", "v1,ä v1,,,",
		"\t" + vectorSignature, strings.Repeat(" ", 100) + vectorSignature,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := parseSignatures(header)
		if len(got) > maxSignatures {
			t.Fatalf("%d signatures", len(got))
		}
		tokens := strings.Split(header, " ")
		for _, signature := range got {
			if len(signature) != encodedSumLength || !slices.Contains(tokens, "v1,"+signature) {
				t.Fatalf("%q is not in %q", signature, header)
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

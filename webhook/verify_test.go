package webhook

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestVerifyPublishedVector(t *testing.T) {
	v := &Verifier{Secrets: []Secret{mustSecret(t, vectorSecret)}, Now: at(vectorSeconds)}
	for _, signature := range []string{
		vectorSignature,
		"  " + vectorSignature + "  ",
		"v1a,AAAA v2,x v1, nonsense " + vectorSignature,
		"v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= " + vectorSignature,
	} {
		if err := v.Verify(rawHeader(vectorID, vectorSeconds, signature), []byte(vectorBody)); err != nil {
			t.Errorf("%q: %v", signature, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	const now = vectorSeconds
	good := func() http.Header { return rawHeader(vectorID, vectorSeconds, vectorSignature) }
	set := func(name, value string) http.Header { h := good(); h.Set(name, value); return h }
	add := func(name, value string) http.Header { h := good(); h.Add(name, value); return h }
	del := func(name string) http.Header { h := good(); h.Del(name); return h }
	sum := strings.TrimPrefix(vectorSignature, "v1,")
	for _, row := range []struct {
		name   string
		header http.Header
		body   string
		want   error
	}{
		{"no headers", http.Header{}, vectorBody, ErrMissingHeader},
		{"nil headers", nil, vectorBody, ErrMissingHeader},
		{"no id", del(HeaderID), vectorBody, ErrMissingHeader},
		{"no timestamp", del(HeaderTimestamp), vectorBody, ErrMissingHeader},
		{"no signature", del(HeaderSignature), vectorBody, ErrMissingHeader},
		{"empty id", set(HeaderID, ""), vectorBody, ErrMissingHeader},
		{"empty signature", set(HeaderSignature, ""), vectorBody, ErrMissingHeader},
		{"two ids", add(HeaderID, "other"), vectorBody, ErrMalformedHeader},
		{"two timestamps", add(HeaderTimestamp, "1"), vectorBody, ErrMalformedHeader},
		{"two signature headers", add(HeaderSignature, vectorSignature), vectorBody, ErrMalformedHeader},
		{"full stop in the id", set(HeaderID, "a.b"), vectorBody, ErrMalformedHeader},
		{"long id", set(HeaderID, strings.Repeat("a", 257)), vectorBody, ErrMalformedHeader},
		{"timestamp in words", set(HeaderTimestamp, "now"), vectorBody, ErrMalformedHeader},
		{"timestamp with sign", set(HeaderTimestamp, "+1614265330"), vectorBody, ErrMalformedHeader},
		{"timestamp negative", set(HeaderTimestamp, "-1614265330"), vectorBody, ErrMalformedHeader},
		{"timestamp with zero", set(HeaderTimestamp, "01614265330"), vectorBody, ErrMalformedHeader},
		{"timestamp in ms", set(HeaderTimestamp, "1614265330000"), vectorBody, ErrMalformedHeader},
		{"timestamp with fraction", set(HeaderTimestamp, "1614265330.5"), vectorBody, ErrMalformedHeader},
		{"timestamp with space", set(HeaderTimestamp, " 1614265330"), vectorBody, ErrMalformedHeader},
		{"signature header too long", set(HeaderSignature, strings.Repeat("v1,x ", 1000)), vectorBody, ErrMalformedHeader},
		{"timestamp too old", set(HeaderTimestamp, strconv.Itoa(now-301)), vectorBody, ErrTooOld},
		{"timestamp too new", set(HeaderTimestamp, strconv.Itoa(now+301)), vectorBody, ErrTooNew},
		{"timestamp far ahead", set(HeaderTimestamp, "999999999999"), vectorBody, ErrTooNew},
		{"timestamp zero", set(HeaderTimestamp, "0"), vectorBody, ErrTooOld},
		{"timestamp changed", set(HeaderTimestamp, strconv.Itoa(now+1)), vectorBody, ErrNoMatch},
		{"id changed", set(HeaderID, "msg_other"), vectorBody, ErrNoMatch},
		{"body changed", good(), `{"test":2432232314}`, ErrNoMatch},
		{"body empty", good(), "", ErrNoMatch},
		{"only other schemes", set(HeaderSignature, "v1a,"+sum+" v2,"+sum), vectorBody, ErrNoMatch},
		{"scheme in upper case", set(HeaderSignature, "V1,"+sum), vectorBody, ErrNoMatch},
		{"no scheme", set(HeaderSignature, sum), vectorBody, ErrNoMatch},
		{"empty v1", set(HeaderSignature, "v1,"), vectorBody, ErrNoMatch},
		{"padding missing", set(HeaderSignature, strings.TrimRight(vectorSignature, "=")), vectorBody, ErrNoMatch},
		{"one bit off", set(HeaderSignature, "v1,h"+sum[1:]), vectorBody, ErrNoMatch},
		{"cut short", set(HeaderSignature, vectorSignature[:20]), vectorBody, ErrNoMatch},
		{"longer", set(HeaderSignature, vectorSignature+"A"), vectorBody, ErrNoMatch},
		{"commas between", set(HeaderSignature, "v1,x,"+vectorSignature), vectorBody, ErrNoMatch},
		{"seventeenth", set(HeaderSignature, strings.Repeat("v1,x ", 16)+vectorSignature), vectorBody, ErrNoMatch},
	} {
		v := &Verifier{Secrets: []Secret{mustSecret(t, vectorSecret)}, Now: at(now)}
		err := v.Verify(row.header, []byte(row.body))
		if !errors.Is(err, row.want) || len(err.Error()) > 300 { // nor does it repeat the request
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
}

func TestVerifyTolerance(t *testing.T) {
	secret := NewSecret()
	h := signedHeader(t, mustSigner(t, secret), "e1", vectorSeconds, eventBody)
	for _, row := range []struct {
		tolerance time.Duration
		off       int64 // of the receiver's clock, seconds
		want      error
	}{
		{0, 0, nil}, {0, 300, nil}, {0, -300, nil}, {0, 301, ErrTooOld}, {0, -301, ErrTooNew},
		{time.Second, 1, nil}, {time.Second, 2, ErrTooOld}, {time.Second, -2, ErrTooNew},
		{-time.Second, 300, nil}, {time.Hour, 3600, nil},
	} {
		v := &Verifier{Secrets: []Secret{secret}, Tolerance: row.tolerance, Now: at(vectorSeconds + row.off)}
		if err := v.Verify(h, []byte(eventBody)); !errors.Is(err, row.want) {
			t.Errorf("tolerance %s, clock off by %d s: %v", row.tolerance, row.off, err)
		}
	}
}

// TestVerifyWithoutSecret: an empty key is known to everybody.
func TestVerifyWithoutSecret(t *testing.T) {
	for _, secrets := range [][]Secret{nil, {{}}, {NewSecret(), {}}} {
		v := &Verifier{Secrets: secrets, Now: at(vectorSeconds)}
		if err := v.Verify(rawHeader(vectorID, vectorSeconds, vectorSignature), []byte(vectorBody)); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%d secrets: %v", len(secrets), err)
		}
	}
}

func TestVerifyUsesRealClockByDefault(t *testing.T) {
	secret := NewSecret()
	h := signedHeader(t, mustSigner(t, secret), "e1", time.Now().Unix(), eventBody)
	if err := (&Verifier{Secrets: []Secret{secret}}).Verify(h, []byte(eventBody)); err != nil {
		t.Fatal(err)
	}
}

// request is a signed request as net/http hands it to a handler.
func request(t *testing.T, s *Signer, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
	r.Header = signedHeader(t, s, "e1", vectorSeconds, body)
	r.Header.Set(HeaderAttempt, "2")
	return r
}

func TestVerifyRequest(t *testing.T) {
	secret := NewSecret()
	v := &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds)}
	r := request(t, mustSigner(t, secret), eventBody)
	event, err := v.VerifyRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	if event.ID != "e1" || event.Type != "openid4vc.issuance.completed" || event.IssuanceID != "cmfwfjxdq003js601bmgy9tva" ||
		event.Attempt != 2 || !event.Timestamp.Equal(time.Unix(vectorSeconds, 0)) || string(event.Body) != eventBody ||
		string(event.Payload) != `{"openId4VcIssuanceId":"cmfwfjxdq003js601bmgy9tva"}` {
		t.Errorf("event %+v", event)
	}
	again, err := io.ReadAll(r.Body)
	if err != nil || string(again) != eventBody {
		t.Errorf("the body read again: %q, %v", again, err)
	}
	if err := r.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestVerifyRequestBodies(t *testing.T) {
	secret := NewSecret()
	for _, row := range []struct {
		body, id string
		want     error
	}{
		{`{"eventType":"x"}`, "", nil},
		{` {"eventType":"x","payload":null,"more":[1,2]}`, "", nil},
		{`{"eventType":"x","payload":[1]}`, "", nil},
		{`{"eventType":"x","payload":{"openId4VcIssuanceId":7}}`, "", nil},
		{`{"eventType":"x","payload":{"openId4VcIssuanceId":"i","more":{}}}`, "i", nil},
		{``, "", ErrBody},
		{`null`, "", ErrBody},
		{`[]`, "", ErrBody},
		{`{}`, "", ErrBody},
		{`{"eventType":7}`, "", ErrBody},
		{`{"type":"x"}`, "", ErrBody},
		{`{"eventType":"x"`, "", ErrBody},
		{`{"eventType":"x"} trailing`, "", ErrBody},
	} {
		v := &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds)}
		event, err := v.VerifyRequest(request(t, mustSigner(t, secret), row.body))
		if !errors.Is(err, row.want) || event.IssuanceID != row.id {
			t.Errorf("%s: %+v, %v", row.body, event, err)
		}
		if err == nil && event.Type != "x" {
			t.Errorf("%s: type %q", row.body, event.Type)
		}
	}
}

func TestVerifyRequestAttempt(t *testing.T) {
	secret := NewSecret()
	v := &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds)}
	for text, want := range map[string]int{"1": 1, "12": 12, "": 0, "x": 0, "-1": 0, "99999999999999999999": 0} {
		r := request(t, mustSigner(t, secret), eventBody)
		r.Header.Set(HeaderAttempt, text)
		if event, err := v.VerifyRequest(r); err != nil || event.Attempt != want {
			t.Errorf("attempt %q: %d, %v", text, event.Attempt, err)
		}
	}
}

func TestVerifyRequestBodyTrouble(t *testing.T) {
	secret := NewSecret()
	signer := mustSigner(t, secret)
	v := &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds), MaxBody: 200}
	long := strings.Repeat("x", 201)
	broken := errors.New("broken")

	read := request(t, signer, eventBody)
	io.Copy(io.Discard, read.Body)
	declared := request(t, signer, long)
	chunked := request(t, signer, long)
	chunked.ContentLength = -1
	cut := request(t, signer, eventBody)
	cut.Body = io.NopCloser(iotest.ErrReader(broken))
	cut.ContentLength = -1
	none := request(t, signer, eventBody)
	none.Body, none.ContentLength = nil, 0
	unsigned := request(t, signer, eventBody)
	unsigned.Header.Del(HeaderSignature)
	unsigned.Body = io.NopCloser(iotest.ErrReader(errors.New("read without need")))
	forged := request(t, mustSigner(t, NewSecret()), eventBody)
	for _, row := range []struct {
		name string
		r    *http.Request
		want error
	}{
		{"already read", read, ErrBodyRead},
		{"declared too large", declared, ErrBodyTooLarge},
		{"chunked too large", chunked, ErrBodyTooLarge},
		{"breaks off", cut, broken},
		{"none", none, ErrNoMatch},
		{"unsigned is not read", unsigned, ErrMissingHeader},
		{"forged", forged, ErrNoMatch},
	} {
		if _, err := v.VerifyRequest(row.r); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	exact := request(t, signer, eventBody)
	v.MaxBody = int64(len(eventBody))
	if _, err := v.VerifyRequest(exact); err != nil {
		t.Errorf("exactly MaxBody: %v", err)
	}
}

// TestVerifyRequestOverHTTP goes through a real server, where a consumed body
// reads as empty.
func TestVerifyRequestOverHTTP(t *testing.T) {
	secret := NewSecret()
	v := &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/parsed" {
			io.Copy(io.Discard, r.Body)
		}
		if _, err := v.VerifyRequest(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	defer server.Close()
	for path, want := range map[string]string{"/": "", "/parsed": ErrBodyRead.Error() + "\n"} {
		r, err := http.NewRequest(http.MethodPost, server.URL+path, bytes.NewReader([]byte(eventBody)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = signedHeader(t, mustSigner(t, secret), "e1", vectorSeconds, eventBody)
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(answer) != want {
			t.Errorf("%s: %q, %v", path, answer, err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v := &Verifier{Secrets: []Secret{mustSecret(b, vectorSecret)}, Now: at(vectorSeconds)}
	h := rawHeader(vectorID, vectorSeconds, vectorSignature)
	body := []byte(vectorBody)
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Verify(h, body); err != nil {
			b.Fatal(err)
		}
	}
}

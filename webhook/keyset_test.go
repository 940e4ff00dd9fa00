package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// publisher answers a KeySet without a network.
type publisher struct {
	mu     sync.Mutex
	answer func() (status int, body string, err error)
	asked  int
}

func (p *publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	status, body, err := p.answer()
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		Header: http.Header{"Location": {"https://elsewhere.example/"}}}, nil
}

func (p *publisher) publish(keys ...PublicKey) {
	body, err := MarshalKeySet(keys...)
	p.say(http.StatusOK, string(body), err)
}

func (p *publisher) say(status int, body string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = func() (int, string, error) { return status, body, err }
}

func (p *publisher) keySet() *KeySet {
	return &KeySet{URL: "https://sender.example/.well-known/webhook-keys/e", Client: &http.Client{Transport: p}}
}

// arrives verifies a webhook that was signed with key just now.
func arrives(t *testing.T, v *Verifier, key SigningKey) error {
	t.Helper()
	s := withKeys(t, mustSigner(t, NewSecret()), key)
	return v.Verify(signedHeader(t, s, "e1", time.Now().Unix(), eventBody), []byte(eventBody))
}

// TestKeySetFollowsRotation: known keys cost no request, an unknown one costs
// one, and no more than one a minute.
func TestKeySetFollowsRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, stranger := NewSigningKey(), NewSigningKey(), NewSigningKey()
		p := &publisher{}
		p.publish(first.PublicKey())
		v := &Verifier{KeySet: p.keySet()}
		expect := func(key SigningKey, want error, asked int) {
			t.Helper()
			if err := arrives(t, v, key); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			if p.asked != asked {
				t.Errorf("asked %d times, want %d", p.asked, asked)
			}
		}
		expect(first, nil, 1)
		expect(first, nil, 1)
		p.publish(second.PublicKey(), first.PublicKey())
		expect(second, ErrNoMatch, 1) // within the minute
		time.Sleep(keySetInterval)
		expect(stranger, ErrNoMatch, 2)
		expect(stranger, ErrNoMatch, 2)
		expect(second, nil, 2)
		p.publish(second.PublicKey())
		time.Sleep(keySetInterval)
		expect(first, nil, 2) // still known
		time.Sleep(keySetFresh)
		expect(first, ErrNoMatch, 3) // withdrawn
		expect(second, nil, 3)
	})
}

// TestKeySetTrouble: without keys there is no verdict; with keys they serve on
// for a day.
func TestKeySetTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := NewSigningKey()
		p := &publisher{}
		p.say(http.StatusBadGateway, "", nil)
		v := &Verifier{KeySet: p.keySet()}
		for range 3 {
			if err := arrives(t, v, key); !errors.Is(err, ErrKeySet) {
				t.Errorf("no keys: %v", err)
			}
		}
		if p.asked != 1 {
			t.Errorf("asked %d times", p.asked)
		}
		p.publish(key.PublicKey())
		time.Sleep(keySetInterval)
		if err := arrives(t, v, key); err != nil {
			t.Errorf("back again: %v", err)
		}
		p.say(0, "", errors.New("no network"))
		for range 23 {
			time.Sleep(time.Hour)
			if err := arrives(t, v, key); err != nil {
				t.Errorf("keys of today: %v", err)
			}
		}
		time.Sleep(time.Hour + time.Second)
		if err := arrives(t, v, key); !errors.Is(err, ErrKeySet) {
			t.Errorf("keys of yesterday: %v", err)
		}
	})
}

// TestKeySetAskedAtOnce: many webhooks that wait for the first keys cost one
// request.
func TestKeySetAskedAtOnce(t *testing.T) {
	key := NewSigningKey()
	p := &publisher{}
	p.publish(key.PublicKey())
	v := &Verifier{KeySet: p.keySet()}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := arrives(t, v, key); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p.asked != 1 {
		t.Errorf("asked %d times", p.asked)
	}
}

func TestKeySetAnswers(t *testing.T) {
	const x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" // of RFC 8037
	good := `{"kty":"OKP","crv":"Ed25519","x":"` + x + `"}`
	for name, row := range map[string]struct {
		body string
		keys int // -1: refused
	}{
		"of RFC 8037":      {`{"keys":[` + good + `]}`, 1},
		"more members":     {`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + x + `","use":"sig","alg":"Ed25519","kid":"k"}],"n":1}`, 1},
		"others beside it": {`{"keys":[{"kty":"RSA","n":"AQAB"},{"kty":"OKP","crv":"X25519","x":"` + x + `"},7,` + good + `]}`, 1},
		"for encryption":   {`{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"` + x + `"}]}`, 0},
		"another alg":      {`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"HS256","x":"` + x + `"}]}`, 0},
		"none":             {`{"keys":[]}`, 0},
		"short x":          {`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qY"}]}`, -1},
		"zero x":           {`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `"}]}`, -1},
		"padded x":         {`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + x + `="}]}`, -1},
		"too many":         {`{"keys":[` + strings.Repeat(good+",", keySetKeys) + good + `]}`, -1},
		"no keys":          {`{}`, -1},
		"null":             {`null`, -1},
		"not JSON":         {`<html>`, -1},
		"too long":         {`{"keys":[]}` + strings.Repeat(" ", keySetBody), -1},
	} {
		p := &publisher{}
		p.say(http.StatusOK, row.body, nil)
		keys, err := p.keySet().fetch(t.Context())
		if (err != nil) != (row.keys < 0) || err == nil && len(keys) != row.keys {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

func TestKeySetStatusAndURL(t *testing.T) {
	p := &publisher{}
	for _, status := range []int{204, 301, 302, 307, 401, 404, 500} {
		p.asked = 0
		p.say(status, `{"keys":[]}`, nil)
		if _, err := p.keySet().fetch(t.Context()); err == nil || p.asked != 1 {
			t.Errorf("%d: %v, asked %d times", status, err, p.asked)
		}
	}
	p.publish()
	for address, want := range map[string]bool{
		"https://a.example/k": true, "http://a.example/k": false, "HTTP://a.example/k": false,
		"ftp://a.example": false, "": false, "/k": false, ":": false, "https://": true, // the transport's to judge
	} {
		k := p.keySet()
		k.URL = address
		if _, err := k.fetch(t.Context()); (err == nil) != want {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestKeySetOverHTTP goes through a real client and server.
func TestKeySetOverHTTP(t *testing.T) {
	key := NewSigningKey()
	body, err := MarshalKeySet(key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	serve := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		w.Write(body)
	}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(serve))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains about the client that does not trust it
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.HandlerFunc(serve))
	defer plain.Close()
	for name, row := range map[string]struct {
		set  *KeySet
		want error
	}{
		"https":           {&KeySet{URL: secure.URL, Client: secure.Client()}, nil},
		"untrusted":       {&KeySet{URL: secure.URL}, ErrKeySet},
		"moved":           {&KeySet{URL: secure.URL + "/moved", Client: secure.Client()}, ErrKeySet},
		"http":            {&KeySet{URL: plain.URL}, ErrKeySet},
		"http by request": {&KeySet{URL: plain.URL, AllowHTTP: true}, nil},
	} {
		if err := arrives(t, &Verifier{KeySet: row.set}, key); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMarshalKeySet(t *testing.T) {
	// The key and the thumbprint of RFC 8037, appendix A.
	keys, err := parseKeySet([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := MarshalKeySet(keys...)
	want := `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",` +
		`"kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","use":"sig","alg":"EdDSA"}]}`
	if err != nil || string(body) != want {
		t.Errorf("%s, %v", body, err)
	}
	if body, err := MarshalKeySet(); err != nil || string(body) != `{"keys":[]}` {
		t.Errorf("%s, %v", body, err)
	}
	if _, err := MarshalKeySet(PublicKey{}); !errors.Is(err, ErrPublicKey) {
		t.Errorf("%v", err)
	}
}

// FuzzKeySet: whatever a sender publishes, what is read can be published
// again and is then the same.
func FuzzKeySet(f *testing.F) {
	body, err := MarshalKeySet(mustPublicKey(f, vectorPublicKey), NewSigningKey().PublicKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":""},null,[]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeySet(body)
		if err != nil {
			return
		}
		if !json.Valid(body) || len(keys) > keySetKeys {
			t.Fatalf("%d keys of %q", len(keys), body)
		}
		again, err := MarshalKeySet(keys...)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseKeySet(again); err != nil || fmt.Sprint(back) != fmt.Sprint(keys) {
			t.Fatalf("%v, %v; want %v", back, err, keys)
		}
	})
}

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/webhook"
)

// Every wrong turn of a local receiver is explained.
func TestListenExplainsRefusals(t *testing.T) {
	answer := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			http.Error(w, text, status)
		}
	}
	secret := webhook.NewSecret().Reveal()
	refused := httptest.NewServer(nil)
	refused.Close() // nothing listens there
	encrypted := httptest.NewTLSServer(answer(204, ""))
	defer encrypted.Close()
	for name, c := range map[string]struct {
		url    string
		answer http.HandlerFunc
		want   string
	}{
		"taken":        {answer: answer(204, "")},
		"wrong secret": {answer: answer(400, "No matching signature found"), want: "--print-secret"},
		"parsed body":  {answer: answer(500, "Expected payload to be of type string or Buffer."), want: "parsed before the signature was verified"},
		"log in first": {answer: answer(401, ""), want: "let the route through"},
		"another path": {answer: answer(404, ""), want: "nothing is served at this path"},
		"no POST":      {answer: answer(405, ""), want: "takes no POST"},
		"redirect":     {answer: answer(302, ""), want: "redirects are never followed"},
		"gone":         {answer: answer(410, ""), want: "would disable the endpoint"},
		"wrong clock":  {answer: answer(400, "Message timestamp too old"), want: "clocks"},
		"too slow": {answer: func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done() // until nobody waits any more
		}, want: "answer 2xx as soon as"},
		"not there":     {url: refused.URL, want: "is your receiver running"},
		"not encrypted": {url: strings.Replace(refused.URL, "http:", "https:", 1), want: "is your receiver running"},
		"self-signed":   {url: encrypted.URL, want: "certificate is not trusted"},
	} {
		if c.url == "" {
			s := httptest.NewServer(c.answer)
			defer s.Close()
			c.url = s.URL
		}
		f, err := newForwarder(c.url, secret, 300*time.Millisecond, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name != "too slow" {
			f.http.Timeout = time.Minute // however slow this machine is
		}
		o := f.post(t.Context(), client.Event{ID: "event", EventType: tidings.IssuanceCompleted})
		f.close()
		if got := o.mend(); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not say %q", name, got, c.want)
		}
	}
}

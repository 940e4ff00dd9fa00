package server_test

import (
	"strings"
	"testing"
)

// What begins like null or true is called what it is, and so is a number that is
// no integer.
func TestABodyIsCalledWhatItIs(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct{ body, at, want string }{
		{"not json", "", "is not valid JSON"},
		{"tru", "", "is not valid JSON: it ends too early"},
		{"true", "", "must be a JSON object; got a boolean"},
		{`{"url":"https://a.example","maxInFlight":1.5}`, "/maxInFlight", "must be an integer; got another number"},
		{`{"url":"https://a.example","maxInFlight":"1"}`, "/maxInFlight", "must be an integer; got a string"},
	} {
		if a := w.post("/endpoints", test.body).refused(400, "VALIDATION_ERROR", test.at); !strings.Contains(a.detail(), test.want) {
			t.Errorf("%s: %q, want %q", test.body, a.detail(), test.want)
		}
	}
}

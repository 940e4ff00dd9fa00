package tidings_test

import (
	"strings"
	"testing"

	"tidings"
)

// Each way in which an attempt fails has advice that leads to its cause.
func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		code   string
		status int
		answer string
		want   string
	}{
		{"dns", 0, "", "typing mistake"},
		{"connect", 0, "", "Is the receiver running"},
		{"tls", 0, "", "certificate"},
		{"timeout", 0, "", "as soon as the event is stored"},
		{"blocked", 0, "", "--egress-allow"},
		{"closed", 0, "", "closed the connection"},
		{"protocol", 0, "", "right port"},
		{"redirect", 302, "", "not followed"},
		{"gone", 410, "", "disabled"},
		{"rate_limited", 429, "", "rate limit"},
		{"unavailable", 503, "", "comes by itself"},
		{"server_error", 500, "", "log"},
		{"signature", 0, "", "Rotate"},
		{"rejected", 400, "No matching signature found", "verify the bytes as they came in"},
		{"rejected", 401, "", "Authorization"},
		{"rejected", 404, "", "Check the path"},
		{"rejected", 405, "", "takes no POST"},
		{"rejected", 400, "Message timestamp too old", "Check its clock"},
		{"rejected", 401, "the webhook's timestamp is in the future: by 10m0s", "Check its clock"},
	} {
		got := tidings.Attempt{ErrorCode: c.code, StatusCode: c.status, ResponseExcerpt: []byte(c.answer)}.Advice()
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %d %q: %q does not say %q", c.code, c.status, c.answer, got, c.want)
		}
	}
	if got := (tidings.Attempt{StatusCode: 204}).Advice(); got != "" {
		t.Errorf("a delivered one is advised %q", got)
	}
}

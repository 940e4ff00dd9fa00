package console_test

import (
	"net/http"
	"net/url"
	"testing"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
)

// What PostgreSQL cannot hold, U+0000 and invalid UTF-8, is refused in every
// address and form, on both databases.
func TestTextsThatPostgreSQLCannotHold(t *testing.T) {
	for name, database := range map[string]func(t *testing.T) string{
		"embedded":   func(*testing.T) string { return "" },
		"PostgreSQL": func(t *testing.T) string { return pgtest.NewDatabase(t, pgtest.Start(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			url := database(t)
			a := apptest.New(t, func(c *app.Config) {
				if url != "" {
					c.Database, c.Data = url, ""
				}
			})
			v := visit(t, a)
			v.signIn(apptest.ClientID, apptest.ClientSecret)
			for _, text := range []string{"a\x00b", "a\xffb"} {
				unfitAddresses(v, text)
				unfitForms(v, text)
			}
		})
	}
}

func unfitAddresses(v *visitor, text string) {
	v.t.Helper()
	at, in := url.PathEscape(text), url.QueryEscape(text)
	for _, path := range []string{"/endpoints/" + at, "/endpoints/" + at + "/edit", "/endpoints/x/recoveries/" + at, "/deliveries/" + at, "/events/" + at,
		"/issuances/" + at, "/templates/" + at, "/templates/" + at + "/edit", "/events?type=" + in, "/events?issuance=" + in, "/events?after=" + in,
		"/deliveries?endpoint=" + in, "/deliveries?status=" + in, "/deliveries?issuance=" + in, "/deliveries?type=" + in, "/deliveries?before=" + in,
		"/issuances?status=" + in, "/issuances?template=" + in, "/templates?name=" + in, "/issuances/new?template=" + in} {
		v.refuses("GET " + path)(v.get(path))
	}
}

func unfitForms(v *visitor, text string) {
	v.t.Helper()
	at := url.PathEscape(text)
	for _, form := range [][]string{
		{"/endpoints/new", "url", "https://receiver.example/", "id", text},
		{"/endpoints/new", "url", "https://receiver.example/" + text},
		{"/endpoints/new", "url", "https://receiver.example/", "description", text},
		{"/endpoints/new", "url", "https://receiver.example/", "headers", "x-own: " + text},
		{"/templates/new", "name", text, "code", "Code", "attributes", `{"a":{"type":"string"}}`},
		{"/issuances/new", "template", text},
		{"/deliveries", "endpoint", text, "status", "failed"},
		{"/endpoints/" + at + "/test", "type", "openid4vc.issuance.offered"},
		{"/endpoints/" + at + "/delete"},
		{"/deliveries/" + at + "/retry"},
		{"/sign-in", "client_id", text, "client_secret", text},
	} {
		v.get("/endpoints/new") // for its token
		v.refuses("POST " + form[0])(v.post(form[0], form[1:]...))
	}
}

// refuses wants no failure of the server: a page that says what is wrong.
func (v *visitor) refuses(what string) func(*http.Response, string) {
	return func(answer *http.Response, body string) {
		v.t.Helper()
		if answer.StatusCode < 400 || answer.StatusCode >= 500 {
			v.t.Errorf("%s: status %d", what, answer.StatusCode)
		}
	}
}

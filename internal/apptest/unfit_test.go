package apptest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
	"tidings/internal/server"
)

// onBoth runs a test on the embedded database and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, database apptest.Option)) {
	t.Run("embedded", func(t *testing.T) { test(t, func(*app.Config) {}) })
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, onPostgreSQL(pgtest.NewDatabase(t, pgtest.Start(t))))
	})
}

// onPostgreSQL has a server use a PostgreSQL.
func onPostgreSQL(url string) apptest.Option {
	return func(c *app.Config) { c.Database, c.Data = url, "" }
}

// unfit are texts that no database of the two can hold in the same way:
// PostgreSQL has no U+0000, and none of them invalid UTF-8.
var unfit = []string{"a\x00b", "\x00", "a\xffb"}

// What PostgreSQL cannot hold is refused wherever it may stand, on both
// databases, before it gets there.
func TestTextsThatPostgreSQLCannotHold(t *testing.T) {
	onBoth(t, func(t *testing.T, database apptest.Option) {
		inside := apptest.NewInside(t, database)
		u := unfitRequests{t: t, inside: inside, token: inside.Token(), template: template(inside.API)}
		u.inPathsAndQueries()
		u.inBodies()
		u.inForms()
	})
}

type unfitRequests struct {
	t        *testing.T
	inside   *apptest.Inside
	token    string
	template string
}

// refused wants a refusal of the caller's request, of which the answer may say
// where it is wrong.
func (u *unfitRequests) refused(method, path, media, body string) (answer string) {
	u.t.Helper()
	r, err := http.NewRequest(method, u.inside.URL+path, strings.NewReader(body))
	if err != nil {
		u.t.Fatal(err)
	}
	r.Header.Set("Content-Type", media)
	r.Header.Set("Authorization", "Bearer "+u.token)
	got, err := u.inside.RoundTrip(r)
	if err != nil {
		u.t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	if got.StatusCode < 400 || got.StatusCode >= 500 {
		u.t.Errorf("%s %s %q: status %d: %s", method, path, body, got.StatusCode, text)
	}
	return string(text)
}

const isForm = "application/x-www-form-urlencoded"

func (u *unfitRequests) inPathsAndQueries() {
	u.t.Helper()
	for _, text := range unfit {
		escaped := url.PathEscape(text)
		for _, route := range apiRoutes(u.t, u.inside.API) {
			path := strings.TrimPrefix(route.path, u.inside.URL)
			if strings.Contains(path, "{") {
				u.refused(route.method, strings.NewReplacer("{id}", escaped, "{sub}", escaped).Replace(path), "application/json", "{}")
			}
		}
		for _, path := range []string{"/o/" + escaped + "/jwks", "/o/default/vct/" + escaped, "/o/default/offers/" + escaped, "/o/default/status/" + escaped,
			"/.well-known/webhook-keys/" + escaped, "/.well-known/openid-credential-issuer/o/" + escaped, "/o/" + escaped + "/ca.pem",
			"/invitation?credential_offer_uri=" + url.QueryEscape(u.inside.URL+"/o/default/offers/"+text)} {
			u.refused("GET", path, "", "")
		}
		for list, names := range map[string]string{
			"/events":                "page[after] page[before] filter[since] filter[eventType] filter[issuanceId]",
			"/deliveries":            "filter[endpointId] filter[eventId] filter[eventType] filter[status] filter[issuanceId] page[after]",
			"/templates/credentials": "search[name] filter[id] sort",
			"/credentials":           "filter[status] filter[credentialTemplateId] page[after]",
			"/endpoints":             "page[after]",
		} {
			u.inside.Call("GET", list, nil, http.StatusOK, nil)
			for name := range strings.FieldsSeq(names) {
				u.refused("GET", server.Prefix+list+"?"+url.Values{name: {text}}.Encode(), "", "")
			}
		}
	}
}

// inBodies spoils each text of good bodies in turn, names too. The refusal
// points to it.
func (u *unfitRequests) inBodies() {
	u.t.Helper()
	for path, body := range map[string]string{
		"/endpoints": `{"url":"https://receiver.example/","id":"own","description":"words","filterTypes":["openid4vc.issuance.offered"],
			"headers":{"x-own":"value"},"signatures":["v1"]}`,
		"/events":                `{"eventType":"openid4vc.issuance.offered","payload":{"openId4VcIssuanceId":"one"},"idempotencyKey":"key"}`,
		"/templates/credentials": `{"name":"Name","code":"Code","description":"words","attributes":{"name":{"type":"string"}}}`,
		"/credentials/issuance":  `{"credentialTemplateId":"` + u.template + `","attributes":{"name":"somebody"}}`,
		"/credentials/revoke":    `{"ids":["cmfwfjxdq003js601bmgy9tva"]}`,
	} {
		for at, spoilt := range spoil(body) {
			if answer := u.refused("POST", server.Prefix+path, "application/json", spoilt); !strings.Contains(answer, `"pointer":"`+at) {
				u.t.Errorf("POST %s with U+0000 at %s: the answer points elsewhere: %s", path, at, answer)
			}
		}
	}
}

// spoil gives a body with U+0000 behind each text value, by its pointer.
func spoil(body string) map[string]string {
	out := map[string]string{}
	var whole any
	if err := json.Unmarshal([]byte(body), &whole); err != nil {
		panic(err)
	}
	var walk func(at string, value any, put func(any))
	walk = func(at string, value any, put func(any)) {
		switch v := value.(type) {
		case string:
			put(v + "\x00")
			text, _ := json.Marshal(whole) // it was read from JSON
			out[at] = string(text)
			put(v)
		case []any:
			for i := range v {
				walk(at+"/0", v[i], func(x any) { v[i] = x })
			}
		case map[string]any:
			for name := range v {
				walk(at+"/"+name, v[name], func(x any) { v[name] = x })
			}
		}
	}
	walk("", whole, nil)
	return out
}

func (u *unfitRequests) inForms() {
	u.t.Helper()
	for _, text := range unfit {
		for _, name := range []string{"client_id", "client_secret", "scope"} {
			form := url.Values{"grant_type": {"client_credentials"}, "client_id": {apptest.ClientID}, "client_secret": {apptest.ClientSecret}}
			form.Set(name, text)
			keep := u.token
			u.token = ""
			u.refused("POST", "/iam/realms/product-hub/protocol/openid-connect/token", isForm, form.Encode())
			u.token = keep
		}
		for _, name := range []string{"pre-authorized_code", "tx_code"} {
			u.refused("POST", "/o/default/token", isForm, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:pre-authorized_code"}, name: {text}}.Encode())
		}
	}
}

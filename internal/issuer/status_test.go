package issuer_test

import (
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tidings"
	"tidings/internal/issuer"
)

// revocable offers a credential that carries a status.
func (f *front) revocable(code string) tidings.Template {
	f.Helper()
	t, err := f.store.CreateTemplate(f.Context(), f.org.Key, tidings.NewTemplate{Name: code, Code: code, Revocable: true,
		Attributes: map[string]tidings.Attribute{"company": {Type: tidings.AttributeString}}})
	f.must(err)
	return t
}

func (f *front) offerOf(t tidings.Template) tidings.Issuance {
	f.Helper()
	i, err := f.Offer(f.Context(), f.org, wanting(t.ID, map[string]any{"company": "Acme"}, time.Hour))
	f.must(err)
	return i
}

// place is the claim status.status_list of a credential.
type place struct {
	Index int    `json:"idx"`
	URI   string `json:"uri"`
}

func (f *front) placeOf(payload map[string]any) (p place) {
	f.Helper()
	text, err := json.Marshal(payload["status"].(map[string]any)["status_list"])
	f.must(err)
	f.must(json.Unmarshal(text, &p))
	return p
}

// statusToken is a status list token as a verifier reads it.
type statusToken struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	At      int64  `json:"iat"`
	Expires int64  `json:"exp"`
	TTL     int64  `json:"ttl"`
	List    struct {
		Bits int    `json:"bits"`
		List string `json:"lst"`
	} `json:"status_list"`
	bits []byte
}

// list fetches a list and verifies it with the keys that the issuer publishes.
func (f *front) list(uri string) (list statusToken) {
	f.Helper()
	resp, text := f.send("GET", strings.TrimPrefix(uri, f.server.URL), map[string]string{"Accept": "application/statuslist+jwt", "Accept-Encoding": "identity"}, "")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/statuslist+jwt" {
		f.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
	f.must(err)
	if typ := jws.Signatures[0].Header.ExtraHeaders["typ"]; typ != "statuslist+jwt" {
		f.Errorf("typ is %v", typ)
	}
	_, keys := f.send("GET", "/o/acme/jwks", nil, "")
	var set jose.JSONWebKeySet
	f.must(json.Unmarshal([]byte(keys), &set))
	var payload []byte
	for _, key := range set.Keys {
		if text, err := jws.Verify(key); err == nil {
			payload = text
		}
	}
	f.must(json.Unmarshal(payload, &list))
	raw, err := base64.RawURLEncoding.DecodeString(list.List.List)
	f.must(err)
	z, err := zlib.NewReader(strings.NewReader(string(raw)))
	f.must(err)
	list.bits, err = io.ReadAll(z)
	f.must(err)
	return list
}

func (l statusToken) at(index int) tidings.StatusValue {
	return tidings.StatusValue(l.bits[index/4] >> (index % 4 * 2) & 3)
}

// A revocable credential says where its status stands, and the list there says
// at once what was done to it.
func TestStatusList(t *testing.T) {
	f := open(t)
	i := f.offerOf(f.revocable("Card"))
	p := f.placeOf(f.claimed(i))
	if !strings.HasPrefix(p.URI, f.IssuerURL("acme")+"/status/") || p.Index < 0 || p.Index >= tidings.StatusListSize {
		t.Errorf("the status stands at %+v", p)
	}
	l := f.list(p.URI)
	now := f.clock.Now().Unix()
	if l.Subject != p.URI || l.Issuer != f.IssuerURL("acme") || l.At != now || l.Expires <= now+l.TTL || l.TTL != 300 || l.List.Bits != 2 || len(l.bits)*4 != tidings.StatusListSize {
		t.Errorf("the list is %+v", l)
	}
	id := []string{i.Credentials[0].ID}
	first, second := f.Issuer, f.node() // which has the list ready, too, and is not told of changes
	for _, node := range []*issuer.Issuer{second, first} {
		f.serve(node)
		f.list(p.URI)
	}
	for _, step := range []struct {
		change tidings.StatusChange
		want   tidings.StatusValue
	}{{tidings.Suspend, tidings.StatusSuspended}, {tidings.Resume, tidings.StatusValid}, {tidings.Revoke, tidings.StatusInvalid}} {
		f.must(f.store.ChangeCredentials(t.Context(), f.org.Key, id, step.change, tidings.Origin{}))
		f.serve(second)
		if got := f.list(p.URI).at(p.Index); got != step.want {
			t.Errorf("after %s another node's list says %d, want %d", step.change, got, step.want)
		}
		f.serve(first)
		l := f.list(p.URI)
		if got := l.at(p.Index); got != step.want {
			t.Errorf("after %s the list says %d, want %d", step.change, got, step.want)
		}
		for index := range tidings.StatusListSize {
			if index != p.Index && l.at(index) != tidings.StatusValid {
				t.Fatalf("after %s the list says %d at another place", step.change, l.at(index))
			}
		}
	}
	if status, ok := f.claimed(f.offer())["status"]; ok {
		t.Errorf("a credential that is not revocable carries %v", status)
	}
}

// Each signed copy has a place of its own, that of a repeated request too, and
// all follow what happens to the credential. One that was revoked is not handed
// out again.
func TestStatusOfEveryCopy(t *testing.T) {
	f := open(t)
	i := f.offerOf(f.revocable("Card"))
	w := f.wallet()
	offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.must(err)
	at, err := w.Discover(t.Context(), offer.Issuer)
	f.must(err)
	token, err := w.Redeem(t.Context(), at, offer)
	f.must(err)
	fetch := func() place {
		held, err := w.Fetch(t.Context(), at, token, offer.ConfigurationIDs[0])
		f.must(err)
		return f.placeOf(held.Claims)
	}
	places := []place{fetch(), fetch()}
	change := func(c tidings.StatusChange) {
		f.must(f.store.ChangeCredentials(t.Context(), f.org.Key, []string{i.Credentials[0].ID}, c, tidings.Origin{}))
	}
	change(tidings.Suspend)
	places = append(places, fetch())
	for _, c := range []struct {
		change tidings.StatusChange
		want   tidings.StatusValue
	}{{"", tidings.StatusSuspended}, {tidings.Revoke, tidings.StatusInvalid}} {
		if c.change != "" {
			change(c.change)
		}
		seen := map[int]bool{}
		for _, p := range places {
			seen[p.Index] = true
			if got := f.list(p.URI).at(p.Index); got != c.want {
				t.Errorf("%+v is %d, want %d", p, got, c.want)
			}
		}
		if len(seen) != len(places) {
			t.Errorf("copies share a place: %v", places)
		}
	}
	_, err = w.Fetch(t.Context(), at, token, offer.ConfigurationIDs[0])
	f.refused(err, 400, "credential_request_denied")
}

// A list is served as HTTP wants it, and signed anew only where it must be.
func TestStatusListOverHTTP(t *testing.T) {
	f := open(t)
	p := f.placeOf(f.claimed(f.offerOf(f.revocable("Card"))))
	path := strings.TrimPrefix(p.URI, f.server.URL)
	first, token := f.send("GET", path, map[string]string{"Accept-Encoding": "identity"}, "")
	if got := first.Header.Get("Cache-Control"); got != "public, max-age=300" {
		t.Errorf("Cache-Control %q", got)
	}
	if first.Header.Get("Access-Control-Allow-Origin") != "*" || first.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("header %v", first.Header)
	}
	f.clock.Advance(time.Minute)
	again, same := f.send("GET", path, map[string]string{"Accept-Encoding": "identity"}, "")
	if same != token || again.Header.Get("Cache-Control") != "public, max-age=240" {
		t.Errorf("it was signed again, or may be kept too long: %v", again.Header)
	}
	zipped, body := f.send("GET", path, map[string]string{"Accept-Encoding": "gzip"}, "")
	z, err := gzip.NewReader(strings.NewReader(body))
	f.must(err)
	plain, err := io.ReadAll(z)
	f.must(err)
	if zipped.Header.Get("Content-Encoding") != "gzip" || string(plain) != token {
		t.Error("the coding gzip holds something else")
	}
	for _, row := range []struct {
		path, header, value string
		status              int
	}{
		{path, "If-None-Match", first.Header.Get("ETag"), http.StatusNotModified},
		{path, "Accept", "application/*", 200},
		{path, "Accept", "application/statuslist+cwt", http.StatusNotAcceptable},
		{path, "Accept", "application/statuslist+jwt;q=0", http.StatusNotAcceptable},
		{path + "?time=1686925000", "Accept", "*/*", http.StatusNotImplemented},
		{path + "x", "Accept", "*/*", http.StatusNotFound},
		{strings.Replace(path, "/o/acme", "/o/other", 1), "Accept", "*/*", http.StatusNotFound},
	} {
		f.organisationOnce("other")
		if resp, text := f.send("GET", row.path, map[string]string{row.header: row.value}, ""); resp.StatusCode != row.status {
			t.Errorf("%s with %s: %q gives %d, want %d: %s", row.path, row.header, row.value, resp.StatusCode, row.status, text)
		}
	}
	f.clock.Advance(4 * time.Minute)
	if _, fresh := f.send("GET", path, map[string]string{"Accept-Encoding": "identity"}, ""); fresh == token {
		t.Error("a list is served that is older than its ttl")
	}
}

// organisationOnce makes an organisation where there is none.
func (f *front) organisationOnce(slug string) {
	f.Helper()
	if _, err := f.store.OrganisationBySlug(f.Context(), slug); err != nil {
		f.organisation(slug)
	}
}

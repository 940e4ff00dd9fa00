package issuer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/issuer"
)

// What a template says of its looks stands in both documents that wallets read.
func TestDisplay(t *testing.T) {
	f := open(t)
	made, err := f.store.CreateTemplate(t.Context(), f.org.Key, tidings.NewTemplate{Name: "Card", Code: "Card", Description: "Plain",
		Attributes: map[string]tidings.Attribute{"since": {Type: tidings.AttributeDate, Name: "Seit", Description: "Eintritt", Required: true, AlwaysDisclosed: true}},
		Display: []tidings.Display{
			{Name: "Ausweis", Locale: "de", Description: "Der Bibliothek", Logo: &tidings.Logo{URI: "https://library.example/l.png", Alt: "Ein Buch"}, BackgroundColor: "#12107c", TextColor: "#fff"},
			{Name: "Card"}}})
	f.must(err)
	_, body := f.send("GET", "/.well-known/openid-credential-issuer/o/acme", nil, "")
	var doc struct {
		Configurations map[string]struct {
			Metadata any `json:"credential_metadata"`
		} `json:"credential_configurations_supported"`
	}
	f.must(json.Unmarshal([]byte(body), &doc))
	var want any
	f.must(json.Unmarshal([]byte(`{"display":[{"name":"Ausweis","locale":"de","description":"Der Bibliothek","logo":{"uri":"https://library.example/l.png","alt_text":"Ein Buch"},
		"background_color":"#12107c","text_color":"#fff"},{"name":"Card","locale":"en"}],
		"claims":[{"path":["since"],"mandatory":true,"display":[{"name":"Seit","locale":"de"}]}]}`), &want))
	same(t, doc.Configurations[made.ID].Metadata, want)

	_, body = f.send("GET", "/o/acme/vct/Card", nil, "")
	var got any
	f.must(json.Unmarshal([]byte(body), &got))
	f.must(json.Unmarshal([]byte(`{"vct":"`+f.VCT("acme", "Card")+`","name":"Card","description":"Plain",
		"display":[{"locale":"de","lang":"de","name":"Ausweis","description":"Der Bibliothek","rendering":{"simple":{
			"logo":{"uri":"https://library.example/l.png","alt_text":"Ein Buch"},"background_color":"#12107c","text_color":"#fff"}}},
			{"locale":"en","lang":"en","name":"Card"}],
		"claims":[{"path":["since"],"display":[{"locale":"de","lang":"de","label":"Seit","description":"Eintritt"}],"mandatory":true,"sd":"never"}]}`), &want))
	same(t, got, want)
}

// A credential ends when its template says, rounded up so that the second of its
// issuance is not in it.
func TestValidFor(t *testing.T) {
	f := open(t) // at 16:30:12 of March 5
	for life, want := range map[time.Duration]any{
		0:                nil,
		time.Minute:      time.Date(2026, 3, 5, 16, 32, 0, 0, time.UTC),
		23 * time.Hour:   time.Date(2026, 3, 6, 15, 31, 0, 0, time.UTC),
		24 * time.Hour:   time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC),
		8760 * time.Hour: time.Date(2027, 3, 6, 0, 0, 0, 0, time.UTC),
	} {
		made, err := f.store.CreateTemplate(t.Context(), f.org.Key, tidings.NewTemplate{Name: "N", Code: fmt.Sprint("V", int64(life)), ValidFor: life,
			Attributes: map[string]tidings.Attribute{"company": {Type: tidings.AttributeString}}})
		f.must(err)
		i, err := f.Offer(t.Context(), f.org, wanting(made.ID, map[string]any{"company": "Acme"}, time.Hour))
		f.must(err)
		got := f.claimed(i)["exp"]
		if end, ok := want.(time.Time); ok {
			want = float64(end.Unix())
		}
		if got != want {
			t.Errorf("%v: exp is %v, want %v", life, got, want)
		}
	}
}

// claimed has a wallet accept an offer, and gives the credential's payload.
func (f *front) claimed(i tidings.Issuance) (payload map[string]any) {
	f.Helper()
	w := f.wallet()
	offer, err := w.ResolveOffer(f.Context(), f.OfferURI(i))
	f.must(err)
	at, err := w.Discover(f.Context(), offer.Issuer)
	f.must(err)
	token, err := w.Redeem(f.Context(), at, offer)
	f.must(err)
	held, err := w.Fetch(f.Context(), at, token, offer.ConfigurationIDs[0])
	f.must(err)
	text, err := b64.DecodeString(strings.Split(held.Credential, ".")[1])
	f.must(err)
	f.must(json.Unmarshal(text, &payload))
	return payload
}

// A wallet that asks once more when the claims are deleted is refused for good,
// and nothing changes.
func TestClaimsDeleted(t *testing.T) {
	f := open(t)
	s := f.session()
	s.fetch()
	f.clock.Advance(time.Minute)
	f.sweep()
	f.clock.Advance(time.Minute + time.Second)
	if n, err := f.store.DeleteClaims(t.Context(), 10); n != 1 || err != nil {
		t.Fatalf("deleted %d, %v", n, err)
	}
	f.refused(s.request(s.proof()), 400, "credential_request_denied")
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
	if i := f.state(s.issuance); i.State != tidings.StateCompleted || !i.ClaimsDeleted() {
		t.Errorf("issuance %+v", i)
	}
}

// asked counts how often templates are asked for.
type asked struct {
	issuer.Store
	n *int
}

func (a asked) Templates(ctx context.Context, org int64, f tidings.TemplateFilter, p tidings.Page) (tidings.List[tidings.Template], error) {
	*a.n++
	return a.Store.Templates(ctx, org, f, p)
}

func (a asked) Template(ctx context.Context, org int64, id string) (tidings.Template, error) {
	*a.n++
	return a.Store.Template(ctx, org, id)
}

// What offers and credentials need of a template never changes, so it is read once.
// That one is archived is seen at once, and nobody has another's.
func TestATemplateIsReadOnce(t *testing.T) {
	n := 0
	f := open(t, func(_ *issuer.Config, s *issuer.Store) { *s = asked{*s, &n} })
	made := f.newTemplate(f.org, "Once")
	wanted := wanting(made.ID, claims(), time.Hour)
	for range 2 {
		i, err := f.Offer(t.Context(), f.org, wanted)
		f.must(err)
		f.claimed(i)
	}
	if _, err := f.Offer(t.Context(), f.organisation("other"), wanted); tidings.KindOf(err) != tidings.KindInvalid {
		t.Errorf("another organisation's template: %v", err)
	}
	if _, err := f.store.ArchiveTemplate(t.Context(), f.org.Key, made.ID, true, tidings.Origin{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Offer(t.Context(), f.org, wanted); tidings.KindOf(err) != tidings.KindInvalid || !strings.Contains(err.Error(), "archived") {
		t.Errorf("an archived template: %v", err)
	}
	if lists := 2; n != 2+lists { // each wallet reads the metadata, which lists them
		t.Errorf("templates were asked for %d times", n)
	}
}

// What can be no code is asked of no database, some of which refuse such bytes.
func TestTypeOfAnyBytes(t *testing.T) {
	n := 0
	f := open(t, func(_ *issuer.Config, s *issuer.Store) { *s = asked{*s, &n} })
	for _, code := range []string{"%00", "%ff", "a%20b", "%E2%82%AC"} {
		if resp, _ := f.send("GET", "/o/acme/vct/"+code, nil, ""); resp.StatusCode != 404 || n != 0 {
			t.Errorf("%s: %d after %d questions", code, resp.StatusCode, n)
		}
	}
	if resp, _ := f.send("GET", "/o/acme/vct/Badge", nil, ""); resp.StatusCode != 200 || n == 0 {
		t.Errorf("a good one: %d", resp.StatusCode)
	}
}

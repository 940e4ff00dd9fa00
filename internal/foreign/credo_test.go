package foreign

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
)

// credo is Credo's holder.
type credo struct {
	*stepper
	world *world
}

func (w *world) credo() credo {
	w.t.Helper()
	return credo{startStepper(w.t, w.files.CA, "credo.mjs"), w}
}

func (c credo) resolve(offerURI string) {
	c.t.Helper()
	var offer struct {
		Issuer, Version string
		Configurations  []string
	}
	c.do("resolve", object{"offerUri": offerURI}, &offer)
	if want := c.world.URL + "/o/default"; offer.Issuer != want || offer.Version != "V1" {
		c.t.Errorf("the issuer is %s of version %s, want %s", offer.Issuer, offer.Version, want)
	}
	if len(offer.Configurations) != 1 || offer.Configurations[0] != c.world.template {
		c.t.Errorf("the offer is of %q, want %s", offer.Configurations, c.world.template)
	}
}

func (c credo) redeem() {
	c.t.Helper()
	var token struct{ AccessToken string }
	c.do("redeem", nil, &token)
	c.world.keep(token.AccessToken)
}

// request gets the credential, which Credo verifies against the issuer's
// anchor, and judges what it makes of it.
func (c credo) request() (notificationID string) {
	c.t.Helper()
	var got struct {
		NotificationID, Text, Created string
		Claims                        object
		BoundTo                       string
	}
	c.do("request", nil, &got)
	c.world.keep(got.NotificationID, got.Text)
	for name, want := range claims {
		if got.Claims[name] != want {
			c.t.Errorf("the claim %s is %v, want %v", name, got.Claims[name], want)
		}
	}
	if got.Claims["vct"] != c.world.vct || got.BoundTo == "" || got.BoundTo != got.Created {
		c.t.Errorf("vct %v, want %s; bound to the key %q, want %q", got.Claims["vct"], c.world.vct, got.BoundTo, got.Created)
	}
	return got.NotificationID
}

func (c credo) claim(offerURI string) string {
	c.t.Helper()
	c.resolve(offerURI)
	c.redeem()
	return c.request()
}

func TestCredoAccepts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(nil)
	wallet := w.credo()
	wallet.claim(i.OfferURI)
	var count struct{ Kept int }
	if wallet.do("keep", nil, &count); count.Kept != 1 {
		t.Errorf("the wallet keeps %d credentials, want 1", count.Kept)
	}
	wallet.do("notify", object{"event": "credential_accepted"}, nil)
	if got := w.ends(i.ID, "offered", "completed"); got.Status != "completed" || got.AcceptedBy != "wallet" {
		t.Errorf("the issuance is %s, accepted by %q", got.Status, got.AcceptedBy)
	}
}

func TestCredoRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(nil)
	wallet := w.credo()
	wallet.claim(i.OfferURI)
	wallet.do("notify", object{"event": "credential_failure"}, nil)
	got := w.ends(i.ID, "offered", "failed")
	if got.Status != "failed" || got.Error == nil || got.Error.Code != "credential_failure" {
		t.Errorf("the issuance is %s with the error %+v", got.Status, got.Error)
	}
}

// Whoever asks twice gets the credential once more, and completes once. The
// offer itself works once.
func TestCredoRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(nil)
	wallet := w.credo()
	first := wallet.claim(i.OfferURI)
	wallet.refused("redeem", nil, http.StatusBadRequest, "invalid_grant")
	if again := wallet.request(); again != first {
		t.Error("the repeated credential has another notification_id")
	}
	for range 2 {
		wallet.do("notify", object{"event": "credential_accepted"}, nil)
	}
	if got := w.ends(i.ID, "offered", "completed"); got.AcceptedBy != "wallet" {
		t.Errorf("the issuance is %s, accepted by %q", got.Status, got.AcceptedBy)
	}
	w.credo().refused("resolve", object{"offerUri": i.OfferURI}, http.StatusNotFound, "")
}

func TestCredoComesTooLate(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	w := newWorld(t, func(c *app.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	i := w.issue(object{"expiresIn": 60})
	wallet := w.credo()
	wallet.resolve(i.OfferURI)
	ahead.Store(int64(61 * time.Second))
	wallet.refused("redeem", nil, http.StatusBadRequest, "invalid_grant")
	wallet.refused("resolve", object{"offerUri": i.OfferURI}, http.StatusNotFound, "")
	if got := w.ends(i.ID, "offered", "expired"); got.Status != "expired" {
		t.Errorf("the issuance is %s", got.Status)
	}
}

// Credo judges the credential by the issuer's anchor: without it, it takes none.
func TestCredoDoesNotTrustTheIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(nil)
	wallet := w.credo()
	wallet.do("resolve", object{"offerUri": i.OfferURI, "trust": false}, nil)
	wallet.redeem()
	if r := wallet.try("request", nil, nil); r == nil || r.Status != 0 || !strings.Contains(r.Message, "trusted certificates") {
		t.Errorf("the credential is refused with %v", r)
	}
	w.ends(i.ID, "offered") // and nothing more
}

package foreign

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// never is a grace that no test lives to see the end of.
const never = time.Hour

// grace sets how long a wallet may still refuse.
func grace(d time.Duration) apptest.Option {
	return func(c *app.Config) { c.AcceptanceGrace = d }
}

func TestAForeignWalletAccepts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(nil)
	wallet := w.wallet()

	checkOffer(t, w, wallet.resolve(i.OfferURI))
	wallet.redeem()
	checkCredential(t, w, wallet.request())
	checkPresentation(t, wallet)

	wallet.do("notify", object{"event": "credential_accepted"}, nil)
	if got := w.ends(i.ID, "offered", "completed"); got.Status != "completed" || got.AcceptedBy != "wallet" {
		t.Errorf("the issuance is %s, accepted by %q", got.Status, got.AcceptedBy)
	}
}

// checkOffer judges what the library found in an offer and the metadata.
func checkOffer(t *testing.T, w *world, offer resolved) {
	t.Helper()
	if want := w.URL + "/o/default"; offer.Issuer != want {
		t.Errorf("the issuer is %s, want %s", offer.Issuer, want)
	}
	if offer.Version != "V1" {
		t.Errorf("the library takes the issuer for one of version %s", offer.Version)
	}
	if !slices.Equal(offer.Configurations, []string{w.template}) {
		t.Errorf("the offer is of %q, want %s", offer.Configurations, w.template)
	}
	understood := object{
		"format": "dc+sd-jwt", "vct": w.vct, "scope": "degree",
		"cryptographic_binding_methods_supported": []string{"jwk"},
		"credential_signing_alg_values_supported": []string{"ES256"},
		"proof_types_supported":                   object{"jwt": object{"proof_signing_alg_values_supported": []string{"ES256", "ES384", "ES512", "EdDSA"}}},
	}
	for name, want := range understood {
		if !sameJSON(t, offer.Understood[name], want) {
			t.Errorf("%s is %v, want %v", name, offer.Understood[name], want)
		}
	}
	shown, ok := offer.Understood["credential_metadata"].(object)
	if !ok || !sameJSON(t, shown["display"], []object{{"name": "Degree", "locale": "en"}}) {
		t.Errorf("the credential is shown as %v", shown)
	}
}

// checkCredential judges what the libraries found in a credential.
func checkCredential(t *testing.T, w *world, h held) {
	t.Helper()
	if h.Typ != "dc+sd-jwt" || h.Issuer != w.URL+"/o/default" || h.VCT != w.vct || h.Type != w.vct {
		t.Errorf("typ %s, iss %s, vct %s, type metadata of %s; want vct %s", h.Typ, h.Issuer, h.VCT, h.Type, w.vct)
	}
	if !sameJSON(t, h.Claims, claims) {
		t.Errorf("claims %v, want %v", h.Claims, claims)
	}
	if h.BoundTo != h.Holder || h.Holder == "" {
		t.Errorf("bound to the key %s, want the wallet's %s", h.BoundTo, h.Holder)
	}
	if h.Iat < 1 || h.Iat > time.Now().Unix() {
		t.Errorf("issued at %d, now it is %d", h.Iat, time.Now().Unix())
	}
	if want := []string{"birthdate", "given_name", "honours", "points"}; !sameSet(h.Withholdable, want) {
		t.Errorf("the holder can withhold %q, want %q", h.Withholdable, want)
	}
	if want := []string{"birthdate", "degree", "given_name", "honours", "points"}; !sameSet(h.TypeClaims, want) {
		t.Errorf("the type metadata have the claims %q, want %q", h.TypeClaims, want)
	}
}

// checkPresentation shows one claim to a verifier, with a key binding.
func checkPresentation(t *testing.T, wallet wallet) {
	t.Helper()
	var shown struct{ Claims object }
	wallet.do("present", object{"claim": "honours"}, &shown)
	if want := (object{"honours": claims["honours"], "degree": claims["degree"]}); !sameJSON(t, shown.Claims, want) {
		t.Errorf("the verifier sees %v, want %v", shown.Claims, want)
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func TestAForeignWalletNeverNotifies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(200*time.Millisecond))
	i := w.issue(nil)
	w.wallet().claim(i.OfferURI)
	if got := w.ends(i.ID, "offered", "completed"); got.Status != "completed" || got.AcceptedBy != "grace" {
		t.Errorf("the issuance is %s, accepted by %q", got.Status, got.AcceptedBy)
	}
}

func TestAForeignWalletRefuses(t *testing.T) {
	t.Parallel()
	for _, event := range []string{"credential_failure", "credential_deleted"} {
		t.Run(event, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, grace(never))
			i := w.issue(nil)
			wallet := w.wallet()
			wallet.claim(i.OfferURI)
			wallet.do("notify", object{"event": event}, nil)
			wallet.do("notify", object{"event": "credential_accepted"}, nil) // too late: answered, and changes nothing
			got := w.ends(i.ID, "offered", "failed")
			if got.Status != "failed" || got.Error == nil || got.Error.Code != event {
				t.Errorf("the issuance is %s with the error %+v, want the code %s", got.Status, got.Error, event)
			}
		})
	}
}

func TestAForeignWalletComesTooLate(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	w := newWorld(t, func(c *app.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	wallet := w.wallet()

	brief := w.issue(object{"expiresIn": 1})
	if got := w.ends(brief.ID, "offered", "expired"); got.Status != "expired" {
		t.Errorf("the issuance is %s", got.Status)
	}
	wallet.refused("resolve", object{"offerUri": brief.OfferURI}, http.StatusNotFound, "")

	// This offer expires with the wallet looking at it.
	i := w.issue(object{"expiresIn": 60})
	wallet.resolve(i.OfferURI)
	ahead.Store(int64(61 * time.Second))
	wallet.refused("redeem", nil, http.StatusBadRequest, "invalid_grant")
	if got := w.ends(i.ID, "offered", "expired"); got.Status != "expired" {
		t.Errorf("the issuance is %s", got.Status)
	}
}

func TestAForeignWalletRedeemsTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(nil)
	wallet := w.wallet()
	wallet.resolve(i.OfferURI)
	wallet.redeem()
	wallet.refused("redeem", nil, http.StatusBadRequest, "invalid_grant")
	w.wallet().refused("resolve", object{"offerUri": i.OfferURI}, http.StatusNotFound, "")

	// The one who came first is not harmed.
	wallet.request()
	wallet.do("notify", object{"event": "credential_accepted"}, nil)
	w.ends(i.ID, "offered", "completed")
}

func TestAForeignWalletLosesAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(nil)
	wallet := w.wallet()
	first := wallet.claim(i.OfferURI)
	wallet.refused("replay", nil, http.StatusBadRequest, "invalid_nonce")
	again := wallet.request()
	checkCredential(t, w, again)
	if again.NotificationID != first.NotificationID {
		t.Error("the repeated credential has another notification_id")
	}
	wallet.do("notify", object{"event": "credential_accepted"}, nil)
	wallet.request() // after the end, while the token lives
	wallet.do("notify", object{"event": "credential_accepted"}, nil)
	if got := w.ends(i.ID, "offered", "completed"); got.AcceptedBy != "wallet" {
		t.Errorf("the issuance is %s, accepted by %q", got.Status, got.AcceptedBy)
	}
}

package issuer_test

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/issuer"
	"tidings/internal/wallet"
)

func TestClaim(t *testing.T) {
	f := open(t)
	i := f.offer()
	w := f.wallet()
	held, err := w.Claim(t.Context(), f.OfferURI(i))
	f.must(err)
	for name, want := range claims() {
		if !reflect.DeepEqual(held.Claims[name], want) {
			t.Errorf("claim %s is %v, want %v", name, held.Claims[name], want)
		}
	}
	if vct := f.VCT("acme", "Badge"); held.Claims["vct"] != vct {
		t.Errorf("vct is %v, want %s", held.Claims["vct"], vct)
	}
	if got := f.state(i); got.State != tidings.StateDelivered || got.RetrievedAt == nil {
		t.Errorf("after delivery: %s, retrieved %v", got.State, got.RetrievedAt)
	}
	f.must(held.Notify(t.Context(), wallet.Accepted))
	if got := f.state(i); got.State != tidings.StateCompleted || got.AcceptedBy != tidings.AcceptedByWallet {
		t.Errorf("after acceptance: %s by %s", got.State, got.AcceptedBy)
	}
	f.must(held.Notify(t.Context(), wallet.Accepted)) // idempotent
	f.must(held.Notify(t.Context(), wallet.Deleted))  // after the end: kept, no event
	f.events(i, tidings.IssuanceOffered, tidings.IssuanceCompleted)

	// Once redeemed, the offer is gone, and a token's life later so is the token.
	_, err = w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.refused(err, 404, "not_found")
	f.clock.Advance(5 * time.Minute)
	f.refused(held.Notify(t.Context(), wallet.Accepted), 401, "invalid_token")
}

func TestCompletesByGrace(t *testing.T) {
	f := open(t)
	s := f.session()
	s.fetch()
	f.clock.Advance(9 * time.Second)
	f.sweep()
	f.events(s.issuance, tidings.IssuanceOffered)
	f.clock.Advance(time.Second)
	f.sweep()
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
	if got := f.state(s.issuance).AcceptedBy; got != tidings.AcceptedByGrace {
		t.Errorf("accepted by %q", got)
	}
}

func TestNoGraceCompletesAtOnce(t *testing.T) {
	f := open(t, func(c *issuer.Config, _ *issuer.Store) { c.Grace = 0 })
	s := f.session()
	h := s.fetch()
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
	f.must(h.Notify(t.Context(), wallet.Failure))
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

func TestWalletRefuses(t *testing.T) {
	for _, event := range []string{wallet.Failure, wallet.Deleted} {
		f := open(t)
		s := f.session()
		id := s.ask().NotificationID
		f.send("POST", "/o/acme/notification", map[string]string{"Authorization": "Bearer " + s.token.AccessToken, "Content-Type": "application/json"},
			`{"notification_id":"`+id+`","event":"`+event+`","event_description":"no \"room\" left\n"}`)
		f.must(s.Notify(t.Context(), s.issuer, s.token, id, wallet.Accepted)) // too late
		f.clock.Advance(time.Minute)
		f.sweep()
		f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceFailed)
		if got := f.state(s.issuance).Error; got == nil || got.Code != event || got.Details != "no room left" {
			t.Errorf("the issuance's error is %+v, want %s", got, event)
		}
		// The end is final: no further credential.
		f.refused(s.request(s.proof()), 400, "credential_request_denied")
	}
}

// Nobody has to call: the sweep expires an offer by itself.
func TestExpires(t *testing.T) {
	swept := make(chan int)
	f := open(t, func(_ *issuer.Config, s *issuer.Store) { *s = sweepSpy{*s, swept} })
	i := f.offer()
	w := f.wallet()
	offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.must(err)
	known, err := w.Discover(t.Context(), offer.Issuer)
	f.must(err)

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Issuer.Run(ctx) })
	f.clock.Advance(7 * 24 * time.Hour)
	<-swept
	cancel()
	running.Wait()

	f.events(i, tidings.IssuanceOffered, tidings.IssuanceExpired)
	_, err = w.Redeem(t.Context(), known, offer)
	f.refused(err, 400, "invalid_grant")
	_, err = w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.refused(err, 404, "not_found")
	f.events(i, tidings.IssuanceOffered, tidings.IssuanceExpired)
}

// An expired code that comes before the sweep makes the transition itself.
func TestExpiredCodeBeforeSweep(t *testing.T) {
	f := open(t)
	i := f.offer()
	w := f.wallet()
	offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.must(err)
	known, err := w.Discover(t.Context(), offer.Issuer)
	f.must(err)
	f.clock.Advance(7 * 24 * time.Hour)
	_, err = w.Redeem(t.Context(), known, offer)
	f.refused(err, 400, "invalid_grant")
	f.events(i, tidings.IssuanceOffered, tidings.IssuanceExpired)
}

func TestAbandoned(t *testing.T) {
	f := open(t)
	s := f.session()
	proof := s.proof()
	f.clock.Advance(5 * time.Minute)
	f.refused(s.request(proof), 401, "invalid_token")
	f.sweep()
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceFailed)
}

// A lost answer: the same token and a fresh nonce work again, also after the
// grace; what happened is told once.
func TestRepeatAfterLostResponse(t *testing.T) {
	f := open(t)
	s := f.session()
	first := s.fetch()
	f.clock.Advance(11 * time.Second)
	f.sweep()
	again := s.fetch()
	if first.NotificationID != again.NotificationID {
		t.Error("the notification id changed")
	}
	f.must(again.Notify(t.Context(), wallet.Accepted))
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

func TestParallelRedemptions(t *testing.T) {
	f := open(t)
	i := f.offer()
	w := f.wallet()
	offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.must(err)
	known, err := w.Discover(t.Context(), offer.Issuer)
	f.must(err)
	var won atomic.Int32
	inParallel(20, func() {
		if _, err := w.Redeem(t.Context(), known, offer); err == nil {
			won.Add(1)
		} else {
			f.refused(err, 400, "invalid_grant")
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d of 20 redemptions won, want 1", won.Load())
	}
}

func TestParallelReplayOfOneProof(t *testing.T) {
	f := open(t)
	s := f.session()
	proof := s.proof()
	var won atomic.Int32
	inParallel(10, func() {
		if err := s.request(proof); err == nil {
			won.Add(1)
		} else {
			f.refused(err, 400, "invalid_nonce")
		}
	})
	if won.Load() != 1 {
		t.Errorf("one proof gave %d credentials", won.Load())
	}
	f.refused(s.request(proof), 400, "invalid_nonce")
}

// Contradicting notifications at once: one end, and always 204.
func TestParallelNotifications(t *testing.T) {
	f := open(t)
	s := f.session()
	h := s.fetch()
	events := []string{wallet.Accepted, wallet.Deleted, wallet.Failure, wallet.Accepted}
	var wg sync.WaitGroup
	for _, e := range events {
		wg.Go(func() {
			if err := h.Notify(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	end := tidings.IssuanceFailed
	if f.state(s.issuance).State == tidings.StateCompleted {
		end = tidings.IssuanceCompleted
	}
	f.events(s.issuance, tidings.IssuanceOffered, end)
}

func inParallel(n int, do func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(do)
	}
	wg.Wait()
}

// With authorization_details the token response names identifiers, which are
// then the only way to ask.
func TestAuthorizationDetails(t *testing.T) {
	f := open(t)
	i := f.offer()
	w := f.wallet()
	offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
	f.must(err)
	known, err := w.Discover(t.Context(), offer.Issuer)
	f.must(err)
	form := func(details string) url.Values {
		return url.Values{
			"grant_type":            {"urn:ietf:params:oauth:grant-type:pre-authorized_code"},
			"pre-authorized_code":   {offer.PreAuthorizedCode},
			"authorization_details": {details}, "unknown": {"a", "b"},
		}
	}
	for _, bad := range []string{`{}`, `[]`, `[1]`, `[{"type":"x"}]`, `[{"type":"openid_credential","credential_configuration_id":"other"}]`} {
		_, err = w.TokenRequest(t.Context(), known, form(bad))
		f.refused(err, 400, "invalid_authorization_details")
	}
	token, err := w.TokenRequest(t.Context(), known, form(`[{"type":"openid_credential","credential_configuration_id":"`+f.template.ID+`"}]`))
	f.must(err)
	s := &session{Wallet: w, f: f, issuance: i, issuer: known, offer: offer, token: token}
	s.fetch()

	byConfiguration := *token
	byConfiguration.Details = nil
	s.token = &byConfiguration
	f.refused(s.request(s.proof()), 400, "invalid_credential_request")

	other := f.session()
	other.token.Details = token.Details // an identifier that this token never named
	f.refused(other.request(other.proof()), 400, "unknown_credential_identifier")
}

// Nodes share nothing but the store: what one hands out, another takes, and
// both sign with the same key. So does the same node after a restart.
func TestTwoNodes(t *testing.T) {
	f := open(t)
	s := f.session()
	first := s.fetch()
	nonce, err := s.Nonce(t.Context(), s.issuer)
	f.must(err)
	proof, err := s.Proof(s.issuer, nonce)
	f.must(err)
	_, keys := f.send("GET", "/o/acme/jwks", nil, "")

	other, err := issuer.New(t.Context(), issuer.Config{PublicURL: f.server.URL, Now: f.clock.Now}, f.store)
	f.must(err)
	f.serve(other)
	f.must(s.request(proof))
	f.refused(s.request(proof), 400, "invalid_nonce")
	f.must(first.Notify(t.Context(), wallet.Accepted))
	if _, again := f.send("GET", "/o/acme/jwks", nil, ""); again != keys {
		t.Error("the nodes have different keys")
	}
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

// broken is a store in trouble.
type broken struct {
	issuer.Store
	on *atomic.Bool
}

func (b broken) Transition(ctx context.Context, org int64, id string, step tidings.Step) (tidings.Issuance, error) {
	if b.on.Load() {
		return tidings.Issuance{}, tidings.Unavailable(1500*time.Millisecond, nil, "The disk is full.")
	}
	return b.Store.Transition(ctx, org, id, step)
}

// Storage trouble is told as such, changes nothing and burns nothing.
func TestStorageTrouble(t *testing.T) {
	var on atomic.Bool
	f := open(t, func(_ *issuer.Config, s *issuer.Store) { *s = broken{*s, &on} })
	s := f.session()
	proof := s.proof()
	on.Store(true)
	resp, body := f.send("GET", mustPath(f, f.OfferURI(f.offer())), nil, "")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("status %d, Retry-After %q, %s", resp.StatusCode, resp.Header.Get("Retry-After"), body)
	}
	f.refused(s.request(proof), http.StatusServiceUnavailable, "temporarily_unavailable")
	on.Store(false)
	f.must(s.request(proof))
}

// mustPath gives the path of the offer in an offer link.
func mustPath(f *front, link string) string {
	f.Helper()
	u, err := url.Parse(link)
	f.must(err)
	inner, err := url.Parse(u.Query().Get("credential_offer_uri"))
	f.must(err)
	return inner.Path
}

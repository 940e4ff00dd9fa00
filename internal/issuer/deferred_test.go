package issuer_test

import (
	"net/http"
	"testing"
	"time"

	"tidings"
	"tidings/internal/wallet"
)

// waiting lets a wallet redeem a deferred offer.
func (f *front) waiting() *session {
	f.Helper()
	w := wanting(f.template.ID, claims(), time.Hour)
	w.Deferred = true
	i, err := f.Offer(f.Context(), f.org, w)
	f.must(err)
	return f.redeemed(i)
}

func (s *session) decide(d tidings.Decision) {
	s.f.Helper()
	_, err := s.f.store.Transition(s.f.Context(), s.f.org.Key, s.issuance.ID, tidings.Decide{Decision: d})
	s.f.must(err)
}

// refresh replaces the session's token.
func (s *session) refresh() {
	s.f.Helper()
	var err error
	s.token, err = s.RefreshToken(s.f.Context(), s.issuer, s.token)
	s.f.must(err)
}

func (s *session) ask() *wallet.Issued {
	s.f.Helper()
	got, err := s.batch(s.proof())
	s.f.must(err)
	return got
}

// A credential that is approved days later: the wallet polls with the same
// transaction id, refreshes its access and gets it, bound to the key that it
// proved at first.
func TestDeferredForDays(t *testing.T) {
	f := open(t)
	s := f.waiting()
	first := s.ask()
	if first.TransactionID == "" || first.Interval < 1 || first.NotificationID != "" || len(first.Credentials) != 0 {
		t.Fatalf("deferred: %+v", first)
	}
	if again := s.ask(); again.TransactionID != first.TransactionID {
		t.Error("asked again, the transaction id is another")
	}
	if got := f.state(s.issuance); got.State != tidings.StateDeferred || got.Status() != "offered" {
		t.Errorf("state %s, shown as %s", got.State, got.Status())
	}
	for range 5 {
		f.clock.Advance(2 * 24 * time.Hour)
		f.sweep()
		_, err := s.Deferred(t.Context(), s.issuer, s.token, first.TransactionID)
		f.refused(err, 401, "invalid_token")
		s.refresh()
		pending, err := s.Deferred(t.Context(), s.issuer, s.token, first.TransactionID)
		f.must(err)
		if pending.TransactionID != first.TransactionID || pending.Interval < 1 || pending.NotificationID != "" {
			t.Errorf("while pending: %+v", pending)
		}
	}
	f.events(s.issuance, tidings.IssuanceOffered)
	s.decide(tidings.Approve)
	var got *wallet.Issued
	for range 2 { // the first answer may get lost
		var err error
		got, err = s.Deferred(t.Context(), s.issuer, s.token, first.TransactionID)
		f.must(err)
		if len(got.Credentials) != 1 {
			t.Fatalf("approved: %+v", got)
		}
		if _, err := s.Verify(t.Context(), s.issuer, got.Credentials[0].Credential); err != nil {
			t.Error(err)
		}
	}
	f.must(s.Notify(t.Context(), s.issuer, s.token, got.NotificationID, wallet.Accepted))
	_, err := s.Deferred(t.Context(), s.issuer, s.token, first.TransactionID) // the wallet has it
	f.refused(err, 400, "invalid_transaction_id")
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

func TestDeferredIsDenied(t *testing.T) {
	f := open(t)
	s := f.waiting()
	id := s.ask().TransactionID
	s.decide(tidings.Deny)
	_, err := s.Deferred(t.Context(), s.issuer, s.token, id)
	f.refused(err, 400, "credential_request_denied")
	_, err = s.RefreshToken(t.Context(), s.issuer, s.token)
	f.refused(err, 400, "invalid_grant")
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceFailed)
	if got := f.state(s.issuance).Error; got == nil || got.Code != tidings.FailedDenied {
		t.Errorf("error %v", got)
	}
}

// Nobody decides, or nobody comes: at the end of the deferral it fails.
func TestDeferralEnds(t *testing.T) {
	for _, approve := range []bool{false, true} {
		f := open(t)
		s := f.waiting()
		s.ask()
		want := tidings.FailedUndecided
		if approve {
			s.decide(tidings.Approve)
			want = tidings.FailedAbandoned
		}
		f.clock.Advance(14*24*time.Hour - time.Second)
		f.sweep()
		f.events(s.issuance, tidings.IssuanceOffered)
		s.refresh()
		f.clock.Advance(time.Second)
		_, err := s.RefreshToken(t.Context(), s.issuer, s.token)
		f.refused(err, 400, "invalid_grant")
		f.sweep()
		f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceFailed)
		if got := f.state(s.issuance).Error; got == nil || got.Code != want {
			t.Errorf("error %v, want %s", got, want)
		}
	}
}

// Approved before its wallet comes, it is issued at once.
func TestApprovedBeforehand(t *testing.T) {
	f := open(t)
	s := f.waiting()
	s.decide(tidings.Approve)
	f.must(s.fetch().Notify(t.Context(), wallet.Accepted))
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

// A refresh token works again while its answer may be lost, and no more once the
// next one was used.
func TestRefreshRotates(t *testing.T) {
	f := open(t)
	s := f.waiting()
	if plain := f.session(); plain.token.Refresh != "" {
		t.Error("an issuance that is not deferred gets a refresh token")
	}
	first := s.token
	s.refresh()
	lost := s.token
	s.token = first
	s.refresh() // the answer was lost
	second := s.token
	if second.Refresh == first.Refresh || second.Refresh == lost.Refresh {
		t.Error("the refresh token is not rotated")
	}
	s.refresh() // which uses the second
	_, err := s.RefreshToken(t.Context(), s.issuer, first)
	f.refused(err, 400, "invalid_grant")
	s.token = second
	s.refresh()
	bad := *s.token
	bad.Refresh = s.token.AccessToken
	_, err = s.RefreshToken(t.Context(), s.issuer, &bad)
	f.refused(err, 400, "invalid_grant")
}

// What wallets hold is of no use at the routes of another organisation.
func TestTokensOfAnotherOrganisation(t *testing.T) {
	f := open(t)
	f.organisation("other")
	s := f.waiting()
	id := s.ask().TransactionID
	bearer := map[string]string{"Authorization": "Bearer " + s.token.AccessToken, "Content-Type": "application/json"}
	for path, body := range map[string]string{"deferred_credential": `{"transaction_id":"` + id + `"}`, "credential": `{}`, "notification": `{}`} {
		resp, text := f.send("POST", "/o/other/"+path, bearer, body)
		f.flat(resp, text, 401, "invalid_token")
	}
	resp, text := f.send("POST", "/o/other/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "grant_type=refresh_token&refresh_token="+s.token.Refresh)
	f.flat(resp, text, 400, "invalid_grant")
	s.refresh() // it was not used by that
}

func TestDeferredRequestRefused(t *testing.T) {
	f := open(t)
	s, other := f.waiting(), f.waiting()
	_, err := s.Deferred(t.Context(), s.issuer, s.token, other.ask().TransactionID)
	f.refused(err, 400, "invalid_transaction_id")
	_, err = s.Deferred(t.Context(), s.issuer, s.token, "")
	f.refused(err, 400, "invalid_credential_request")
	post := func(contentType, body string) (*http.Response, string) {
		return f.send("POST", "/o/acme/deferred_credential", map[string]string{"Authorization": "Bearer " + s.token.AccessToken, "Content-Type": contentType}, body)
	}
	resp, body := post("application/json", `{"transaction_id":"`+s.ask().TransactionID+`","credential_response_encryption":{"jwk":{},"enc":"A128GCM"}}`)
	f.flat(resp, body, 400, "invalid_encryption_parameters")
	resp, body = post("application/jwt", "a.b.c.d.e")
	f.flat(resp, body, 400, "invalid_encryption_parameters")
	proof := s.proof()
	f.must(s.request(proof))
	f.refused(s.request(proof), 400, "invalid_nonce")
}

package issuer_test

import (
	"testing"
	"time"

	"tidings"
	"tidings/internal/wallet"
)

// guarded makes an offer with a transaction code, and resolves it.
func (f *front) guarded() (*session, string) {
	f.Helper()
	w := wanting(f.template.ID, claims(), time.Hour)
	w.TxCode = tidings.TxCode{Length: 6, InputMode: tidings.InputNumeric}
	i, err := f.Offer(f.Context(), f.org, w)
	f.must(err)
	s := &session{Wallet: f.wallet(), f: f, issuance: i}
	s.offer, err = s.ResolveOffer(f.Context(), f.OfferURI(i))
	f.must(err)
	s.issuer, err = s.Discover(f.Context(), s.offer.Issuer)
	f.must(err)
	return s, i.TxCode.Value
}

// wrong gives another code of the same length.
func wrong(code string) string { return string('0'+(code[0]-'0'+1)%10) + code[1:] }

// A wrong transaction code, or none, burns nothing.
func TestTxCodeWrongThenRight(t *testing.T) {
	f := open(t)
	s, code := f.guarded()
	if s.offer.TxCode != (wallet.TxCodeHint{InputMode: "numeric", Length: 6}) {
		t.Errorf("the offer asks for %+v", s.offer.TxCode)
	}
	_, err := s.Redeem(t.Context(), s.issuer, s.offer)
	f.refused(err, 400, "invalid_request")
	_, err = s.RedeemWith(t.Context(), s.issuer, s.offer, wrong(code))
	f.refused(err, 400, "invalid_grant")
	s.token, err = s.RedeemWith(t.Context(), s.issuer, s.offer, code)
	f.must(err)
	f.must(s.fetch().Notify(t.Context(), wallet.Accepted))
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

// The fifth wrong code ends the issuance, however many come at once; then the
// right one is of no use.
func TestTxCodeCap(t *testing.T) {
	f := open(t)
	s, code := f.guarded()
	for range tidings.MaxWrongTxCodes - 1 {
		_, err := s.RedeemWith(t.Context(), s.issuer, s.offer, wrong(code))
		f.refused(err, 400, "invalid_grant")
	}
	f.events(s.issuance, tidings.IssuanceOffered)
	inParallel(10, func() {
		_, err := s.RedeemWith(t.Context(), s.issuer, s.offer, wrong(code))
		f.refused(err, 400, "invalid_grant")
	})
	_, err := s.RedeemWith(t.Context(), s.issuer, s.offer, code)
	f.refused(err, 400, "invalid_grant")
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceFailed)
	if got := f.state(s.issuance); got.Error == nil || got.Error.Code != tidings.FailedTxCode || got.TxCode.Wrong != tidings.MaxWrongTxCodes {
		t.Errorf("error %v after %d wrong codes", got.Error, got.TxCode.Wrong)
	}
}

// Of two credentials one is fetched: partially issued, and at the end of the
// token incomplete; with both, completed once each was accepted.
func TestSeveralCredentials(t *testing.T) {
	for _, all := range []bool{false, true} {
		f := open(t)
		second := f.newTemplate(f.org, "Permit")
		i, err := f.Offer(t.Context(), f.org, tidings.WantedIssuance{Life: time.Hour, Credentials: []tidings.WantedCredential{
			{TemplateID: f.template.ID, Claims: claims()}, {At: "/credentials/1", TemplateID: second.ID, Claims: claims()}}})
		f.must(err)
		s := f.redeemed(i)
		first := s.fetch()
		if got := f.state(i).Status(); got != "partiallyIssued" {
			t.Errorf("after one of two it is %s", got)
		}
		if !all {
			f.must(first.Notify(t.Context(), wallet.Accepted))
			f.clock.Advance(5 * time.Minute)
			f.sweep()
			f.events(i, tidings.IssuanceOffered, tidings.IssuancePartiallyIssued, tidings.IssuanceFailed)
			continue
		}
		other, err := s.Fetch(t.Context(), s.issuer, s.token, second.ID)
		f.must(err)
		f.must(other.Notify(t.Context(), wallet.Accepted))
		f.events(i, tidings.IssuanceOffered, tidings.IssuancePartiallyIssued)
		f.must(first.Notify(t.Context(), wallet.Accepted))
		f.events(i, tidings.IssuanceOffered, tidings.IssuancePartiallyIssued, tidings.IssuanceCompleted)
	}
}

// A canceled offer is gone for its wallet, at every stage; what was delivered
// cannot be taken back so.
func TestCancel(t *testing.T) {
	f := open(t)
	cancel := func(i tidings.Issuance) error {
		_, err := f.store.Transition(t.Context(), f.org.Key, i.ID, tidings.Cancel{})
		return err
	}
	s := f.session()
	proof := s.proof()
	f.must(cancel(s.issuance))
	f.refused(s.request(proof), 400, "credential_request_denied")
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceFailed)

	delivered := f.session()
	delivered.fetch()
	if err := cancel(delivered.issuance); err != tidings.RefusedDelivered {
		t.Errorf("after delivery: %v", err)
	}
	f.clock.Advance(10 * time.Second)
	if err := cancel(delivered.issuance); err != tidings.RefusedEnded {
		t.Errorf("after the end: %v", err)
	}
	f.events(delivered.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

package issuer_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/wallet"
)

// together runs all at the same time, and waits for them.
func together(all ...func()) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for _, do := range all {
		group.Go(func() {
			<-start
			do()
		})
	}
	close(start)
	group.Wait()
}

// times gives the same thing to do n times.
func times(n int, do func()) []func() { return slices.Repeat([]func(){do}, n) }

// The moment at which an offer expires comes while wallets redeem it and the
// sweep looks: one of the two happens, whichever, and nothing else is told.
func TestExpiryAgainstRedemption(t *testing.T) {
	f := open(t)
	w := f.wallet()
	known, err := w.Discover(t.Context(), f.IssuerURL("acme"))
	f.must(err)
	for range 30 {
		i := f.offer()
		offer, err := w.ResolveOffer(t.Context(), f.OfferURI(i))
		f.must(err)
		f.clock.Advance(7*24*time.Hour - time.Millisecond)
		var won atomic.Int32
		redeem := func() {
			if _, err := w.Redeem(t.Context(), known, offer); err == nil {
				won.Add(1)
			} else {
				f.refused(err, 400, "invalid_grant")
			}
		}
		together(append(times(4, redeem), f.sweep, func() { f.clock.Advance(time.Millisecond) }, f.sweep)...)
		f.sweep()
		switch got := f.state(i).State; {
		case won.Load() == 1 && got == tidings.StateRedeemed:
			f.events(i, tidings.IssuanceOffered)
		case won.Load() == 0 && got == tidings.StateExpired:
			f.events(i, tidings.IssuanceOffered, tidings.IssuanceExpired)
		default:
			t.Errorf("%d redemptions won, and the issuance is %s", won.Load(), got)
		}
	}
}

// The grace ends while the wallet says one thing and another: one end, told
// once, and 204 for all.
func TestNotificationsAgainstTheGrace(t *testing.T) {
	f := open(t)
	for range 30 {
		s := f.session()
		h := s.fetch()
		f.clock.Advance(10*time.Second - time.Millisecond)
		say := func(event string) func() {
			return func() {
				if err := h.Notify(t.Context(), event); err != nil {
					t.Error(err)
				}
			}
		}
		together(say(wallet.Failure), f.sweep, say(wallet.Accepted), func() { f.clock.Advance(time.Millisecond) }, say(wallet.Deleted), f.sweep)
		end := tidings.IssuanceFailed
		if f.state(s.issuance).State == tidings.StateCompleted {
			end = tidings.IssuanceCompleted
		}
		f.events(s.issuance, tidings.IssuanceOffered, end)
	}
}

package issuer_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/wallet"
)

// proofsOf gives a proof of each of n keys, with one nonce.
func (s *session) proofsOf(n int) []string {
	s.f.Helper()
	nonce, err := s.Nonce(s.f.Context(), s.issuer)
	s.f.must(err)
	var out []string
	for range n {
		p, err := s.WithKey(newKey(s.f)).Proof(s.issuer, nonce)
		s.f.must(err)
		out = append(out, p)
	}
	return out
}

func (s *session) batch(proofs ...string) (*wallet.Issued, error) {
	return s.RequestBatch(s.f.Context(), s.issuer, s.token, s.offer.ConfigurationIDs[0], proofs...)
}

// A batch gives a copy for each key, each with a place in a status list of its
// own, and is one credential for the events.
func TestBatch(t *testing.T) {
	f := open(t)
	s := f.redeemed(f.offerOf(f.revocable("Pass")))
	got, err := s.batch(s.proofsOf(5)...)
	f.must(err)
	keys, places := map[any]bool{}, map[place]bool{}
	for _, c := range got.Credentials {
		var payload map[string]any
		raw, err := b64.DecodeString(strings.Split(c.Credential, ".")[1])
		f.must(err)
		f.must(json.Unmarshal(raw, &payload))
		keys[payload["cnf"].(map[string]any)["jwk"].(map[string]any)["x"]] = true
		places[f.placeOf(payload)] = true
	}
	if len(got.Credentials) != 5 || len(keys) != 5 || len(places) != 5 {
		t.Errorf("%d copies for %d keys at %d places", len(got.Credentials), len(keys), len(places))
	}
	f.must(s.Notify(t.Context(), s.issuer, s.token, got.NotificationID, wallet.Accepted))
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

func TestBatchRefused(t *testing.T) {
	f := open(t)
	s := f.session()
	one := s.proofsOf(2)
	nonce, err := s.Nonce(t.Context(), s.issuer)
	f.must(err)
	var sameKey []string
	for range 2 {
		p, err := s.Proof(s.issuer, nonce)
		f.must(err)
		sameKey = append(sameKey, p)
	}
	for name, proofs := range map[string][]string{
		"none": {}, "six": s.proofsOf(6), "one twice": {one[0], one[0]}, "one key twice": sameKey,
		"two nonces": append(s.proofsOf(1), s.proofsOf(1)...), "a bad one": append(s.proofsOf(1), "x"),
	} {
		_, err := s.batch(proofs...)
		t.Run(name, func(t *testing.T) { f.with(t).refused(err, 400, "invalid_proof") })
	}
	if _, err := s.batch(one...); err != nil { // the refusals spent no nonce
		t.Error(err)
	}
	_, err = s.batch(one[0])
	f.refused(err, 400, "invalid_nonce")
}

// Of twenty requests with one batch of proofs, one wins.
func TestParallelReplayOfABatch(t *testing.T) {
	f := open(t)
	s := f.session()
	proofs := s.proofsOf(3)
	var won atomic.Int32
	inParallel(20, func() {
		if _, err := s.batch(proofs...); err == nil {
			won.Add(1)
		} else {
			f.refused(err, 400, "invalid_nonce")
		}
	})
	if won.Load() != 1 {
		t.Errorf("one batch of proofs was answered %d times", won.Load())
	}
	f.clock.Advance(10 * time.Second)
	f.sweep()
	f.events(s.issuance, tidings.IssuanceOffered, tidings.IssuanceCompleted)
}

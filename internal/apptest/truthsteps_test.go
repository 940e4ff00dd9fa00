package apptest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"pgregory.net/rapid"

	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// The steps of a schedule: each draws an issuance and what is done to it.

// make offers one to three credentials, now and then with a transaction code or
// a decision that is still to come.
func (s *schedule) make() {
	if len(s.holdings) == 6 {
		s.Skip("enough issuances")
	}
	life := time.Duration(rapid.SampledFrom([]int{1, 60, 3600, 7 * 24 * 3600}).Draw(s.T, "life")) * time.Second
	n, coded := rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(s.T, "credentials"), rapid.IntRange(1, 3).Draw(s.T, "coded") == 1
	deferred := rapid.IntRange(1, 3).Draw(s.T, "deferred") == 1
	wanted := make([]apptest.Object, n)
	for k := range wanted {
		wanted[k] = apptest.Object{"credentialTemplateId": s.templates[k], "attributes": apptest.Object{"name": "someone"}}
	}
	var made struct {
		issuance
		Credentials []struct{ ID string }
	}
	status, answer, err := s.server.Request("POST", "/credentials/issuance", apptest.Object{
		"credentials": wanted, "expiresIn": int(life.Seconds()), "txCode": coded, "deferred": deferred})
	if err := errors.Join(err, unmarshalData(answer, &made)); err != nil || status != http.StatusCreated || coded == (made.TxCode.Value == "") {
		s.Fatalf("offering: status %d, %v: %s", status, err, answer)
	}
	h := &holding{id: made.ID, uri: made.OfferURI, txCode: made.TxCode.Value, notes: make([]string, n), waits: make([]string, n), story: newStory(s.server.Clock.Now().Add(life), n, coded)}
	if deferred {
		h.deferral = "pending"
	}
	for _, c := range made.Credentials {
		h.credentials = append(h.credentials, c.ID)
	}
	s.holdings = append(s.holdings, h)
}

func (s *schedule) look() {
	h := s.one(func(*holding) bool { return true })
	s.take(h, act{"the offer", func() (err error) {
		offer, err := s.wallet.ResolveOffer(context.Background(), h.uri)
		if err == nil {
			h.offer = offer
		}
		return err
	}, func(m *story) bool { return m.state == "offered" }, []string{"not_found"}})
}

func (s *schedule) redeem() {
	h := s.one(func(h *holding) bool { return h.offer != nil })
	s.take(h, s.redemption(h, rapid.IntRange(1, 4).Draw(s.T, "code") == 1))
}

// guess tries some wrong transaction codes.
func (s *schedule) guess() {
	h := s.one(func(h *holding) bool { return h.coded && h.state == "offered" })
	all := s.holdings
	s.holdings = []*holding{h}
	s.look()
	s.holdings = all
	for range rapid.SampledFrom([]int{modelTxCodes, modelTxCodes - 1, 1}).Draw(s.T, "times") {
		s.take(h, s.redemption(h, true))
	}
}

// redemption sends the transaction code that the offer asks for, or none where
// it asks for none; forgetful wallets send another.
func (s *schedule) redemption(h *holding, forgetful bool) act {
	now := s.server.Clock.Now()
	redeem := func() (*wallet.Token, error) { return s.wallet.Redeem(context.Background(), s.issuer, h.offer) }
	if code := h.txCode; code != "" {
		if forgetful {
			code = map[bool]string{true: "111111", false: "000000"}[code == "000000"]
		}
		redeem = func() (*wallet.Token, error) {
			return s.wallet.RedeemWith(context.Background(), s.issuer, h.offer, code)
		}
	}
	return act{"redemption", func() error {
		token, err := redeem()
		if err == nil {
			h.token, h.dead = token, now.Add(modelToken)
		}
		return err
	}, func(m *story) bool { return m.redeem(now, !forgetful) }, []string{"invalid_grant"}}
}

// claim takes the steps of an undisturbed wallet, or the first of them.
func (s *schedule) claim() {
	fresh := s.one(func(h *holding) bool { return h.state == "offered" })
	all := s.holdings
	s.holdings = []*holding{fresh}
	s.look()
	s.take(fresh, s.redemption(fresh, false))
	for k := range rapid.IntRange(0, len(fresh.got)).Draw(s.T, "credentials") {
		s.take(fresh, s.fetching(fresh, k))
	}
	s.holdings = all
}

func (s *schedule) fetch() {
	h := s.one(func(h *holding) bool { return h.token != nil })
	s.take(h, s.fetching(h, rapid.IntRange(0, len(h.got)-1).Draw(s.T, "credential")))
}

func (s *schedule) fetching(h *holding, k int) act {
	now := s.server.Clock.Now()
	nonce, err := s.wallet.Nonce(context.Background(), s.issuer)
	if err != nil {
		s.Fatal(err)
	}
	text, err := s.wallet.Proof(s.issuer, nonce)
	if err != nil {
		s.Fatal(err)
	}
	token, dead := h.token, h.dead
	return act{"the credential", func() error {
		got, err := s.wallet.Request(context.Background(), s.issuer, token, s.templates[k], text)
		if err == nil {
			h.proofs = append(h.proofs, proof{k, text})
			h.take(k, got)
		}
		return err
	}, func(m *story) bool { return now.Before(dead) && m.deliver(now, k) }, []string{"invalid_token", "credential_request_denied"}}
}

// take keeps what a wallet was given: a credential, or that it has to wait.
func (h *holding) take(k int, got *wallet.Issued) {
	if got.TransactionID != "" {
		h.waits[k] = got.TransactionID
	} else {
		h.notes[k] = got.NotificationID
	}
}

// comeBack asks for a credential that was deferred.
func (s *schedule) comeBack() {
	h := s.one(func(h *holding) bool { return len(named(h.waits)) > 0 })
	s.take(h, s.coming(h, rapid.SampledFrom(named(h.waits)).Draw(s.T, "credential")))
}

func (s *schedule) coming(h *holding, k int) act {
	now, token, dead := s.server.Clock.Now(), h.token, h.dead
	return act{"the deferred credential", func() error {
		got, err := s.wallet.Deferred(context.Background(), s.issuer, token, h.waits[k])
		if err == nil {
			h.take(k, got)
		}
		return err
	}, func(m *story) bool { return now.Before(dead) && m.comeBack(now, k) }, []string{"invalid_token", "credential_request_denied", "invalid_transaction_id"}}
}

func (s *schedule) refresh() {
	h := s.one(func(h *holding) bool { return h.token != nil && h.token.Refresh != "" })
	now := s.server.Clock.Now()
	s.take(h, act{"a refresh", func() error {
		token, err := s.wallet.RefreshToken(context.Background(), s.issuer, h.token)
		if err == nil {
			h.token, h.dead = token, now.Add(min(modelToken, h.fresh.Sub(now)))
		}
		return err
	}, func(m *story) bool { return m.refresh(now) }, []string{"invalid_grant"}})
}

func (s *schedule) decide() {
	h := s.one(func(h *holding) bool { return h.deferral != "" })
	s.take(h, s.decision(h, rapid.SampledFrom([]string{"approve", "approve", "deny"}).Draw(s.T, "decision")))
}

func (s *schedule) decision(h *holding, decision string) act {
	return act{"to " + decision, func() error {
		return s.call("POST", "/credentials/"+h.id+"/deferral", apptest.Object{"decision": decision})
	}, func(m *story) bool { return m.decide(decision == "approve") }, []string{"CONFLICT"}}
}

func (s *schedule) replay() {
	h := s.one(func(h *holding) bool { return len(h.proofs) > 0 })
	p := rapid.SampledFrom(h.proofs).Draw(s.T, "proof")
	s.take(h, act{"a replayed proof", func() error {
		_, err := s.wallet.Request(context.Background(), s.issuer, h.token, s.templates[p.credential], p.text)
		return err
	}, func(*story) bool { return false }, []string{"invalid_token", "invalid_nonce", "invalid_proof", "credential_request_denied"}})
}

func (s *schedule) notify() {
	h := s.one(func(h *holding) bool { return len(named(h.notes)) > 0 })
	k := rapid.SampledFrom(named(h.notes)).Draw(s.T, "credential")
	s.take(h, s.notification(h, k, rapid.SampledFrom([]string{wallet.Accepted, wallet.Accepted, wallet.Accepted, wallet.Failure, wallet.Deleted}).Draw(s.T, "event")))
}

// named lists the credentials for which the wallet holds an id.
func named(ids []string) (all []int) {
	for k, id := range ids {
		if id != "" {
			all = append(all, k)
		}
	}
	return all
}

func (s *schedule) notification(h *holding, k int, event string) act {
	now, token, dead, note := s.server.Clock.Now(), h.token, h.dead, h.notes[k]
	return act{"the notification " + event, func() error {
		return s.wallet.Notify(context.Background(), s.issuer, token, note, event)
	}, func(m *story) bool { return now.Before(dead) && m.notify(k, event) }, []string{"invalid_token"}}
}

func (s *schedule) cancel() {
	if rapid.IntRange(1, 4).Draw(s.T, "luck") == 1 {
		h := s.one(func(*holding) bool { return true })
		s.take(h, s.cancelation(h))
	}
}

func (s *schedule) cancelation(h *holding) act {
	return act{"canceling", func() error { return s.call("DELETE", "/credentials/"+h.id, nil) },
		func(m *story) bool { return m.cancel() }, []string{"CONFLICT"}}
}

func (s *schedule) change() {
	h := s.one(func(h *holding) bool { return slices.Contains(h.got, true) })
	k := rapid.IntRange(0, len(h.got)-1).Draw(s.T, "credential")
	s.take(h, s.changing(h, k, rapid.SampledFrom([]string{"suspended", "resumed", "revoked"}).Draw(s.T, "to")))
}

func (s *schedule) changing(h *holding, k int, to string) act {
	return act{"that a credential is " + to, func() error {
		route := map[string]string{"suspended": "suspend", "resumed": "resume", "revoked": "revoke"}[to]
		return s.call("POST", "/credentials/"+route, apptest.Object{"ids": []string{h.credentials[k]}})
	}, func(m *story) bool { return m.change(k, to) }, []string{"CONFLICT"}}
}

func (s *schedule) simulate() {
	if rapid.IntRange(1, 4).Draw(s.T, "luck") == 1 {
		h := s.one(func(*holding) bool { return true })
		s.take(h, s.simulation(h, rapid.SampledFrom([]string{"completed", "failed", "expired"}).Draw(s.T, "outcome")))
	}
}

func (s *schedule) simulation(h *holding, outcome string) act {
	now := s.server.Clock.Now()
	return act{"the simulation of " + outcome, func() error {
		return s.call("POST", "/credentials/"+h.id+"/simulate", apptest.Object{"outcome": outcome})
	}, func(m *story) bool { return m.simulate(now, outcome) }, []string{"CONFLICT"}}
}

// acts lists what can be done to an issuance whose offer is known.
func (s *schedule) acts(h *holding) []act {
	all := []act{s.redemption(h, false), s.redemption(h, true), s.cancelation(h)}
	if h.token != nil {
		for k := range h.got {
			all = append(all, s.fetching(h, k))
		}
	}
	for _, k := range named(h.waits) {
		all = append(all, s.coming(h, k))
	}
	if h.deferral != "" {
		all = append(all, s.decision(h, "approve"), s.decision(h, "deny"))
	}
	for _, k := range named(h.notes) {
		all = append(all, s.notification(h, k, wallet.Accepted), s.notification(h, k, wallet.Failure), s.notification(h, k, wallet.Deleted))
	}
	for _, outcome := range []string{"completed", "failed", "expired"} {
		all = append(all, s.simulation(h, outcome))
	}
	for _, to := range []string{"suspended", "resumed", "revoked"} {
		all = append(all, s.changing(h, 0, to))
	}
	return all
}

// call makes an API request; its refusal is told as a wallet's would be.
func (s *schedule) call(method, path string, body any) error {
	status, answer, err := s.server.Request(method, path, body)
	var refused struct {
		Errors []struct{ Code, Detail string }
	}
	if err != nil || status < 400 || json.Unmarshal(answer, &refused) != nil || len(refused.Errors) == 0 {
		return err
	}
	return &wallet.ProtocolError{Route: path, Status: status, Code: refused.Errors[0].Code, Description: refused.Errors[0].Detail}
}

// wait moves the clock: by some time, or to just before, at or just behind the
// moment at which a state ends by itself.
func (s *schedule) wait() {
	pause := time.Duration(rapid.SampledFrom([]int{1, 900, 4_000, 50_000}).Draw(s.T, "milliseconds")) * time.Millisecond
	if rapid.Bool().Draw(s.T, "to a deadline") {
		h := s.one(func(h *holding) bool { return !h.over() })
		near := time.Duration(rapid.IntRange(-1, 1).Draw(s.T, "near")) * time.Millisecond
		pause = max(0, h.until.Sub(s.server.Clock.Now())+near)
	}
	s.advance(pause)
}

func (s *schedule) advance(d time.Duration) {
	s.server.Advance(d)
	s.passAll()
}

// restart costs more than all other steps, so it comes less often.
func (s *schedule) restart() {
	if rapid.IntRange(1, 5).Draw(s.T, "luck") == 1 {
		s.server.Restart()
	}
}

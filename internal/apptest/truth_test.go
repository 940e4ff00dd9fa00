package apptest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// holding is one issuance of a schedule: what its wallet has got so far, and
// the model beside it.
type holding struct {
	id, uri string
	offer   *wallet.Offer
	token   *wallet.Token
	dead    time.Time // when the token is
	proofs  []string  // that were accepted
	note    string    // the notification id
	story
}

// schedule is a random sequence of whatever can happen to some issuances of
// one server, drawn step by step.
type schedule struct {
	*rapid.T
	server   *apptest.Inside
	wallet   *wallet.Wallet
	issuer   *wallet.Issuer
	template string
	holdings []*holding
}

// Whatever happens, in whatever order: the events tell what really happened to
// each issuance, as the model says it. TIDINGS_TRUTH_RUNS sets how many
// schedules are drawn.
func TestEventsAreTrueOfEverySchedule(t *testing.T) {
	if apptest.RaceEnabled {
		withoutRaceDetector(t)
		return
	}
	draw(t, setting(t, "TIDINGS_TRUTH_RUNS", 1000))
	server := apptest.NewInside(t)
	w := newWallet(t, server.API).WithClock(server.Clock.Now)
	s := schedule{server: server, wallet: w, template: template(server.API)}
	var err error
	if s.issuer, err = w.Discover(t.Context(), server.URL+"/o/default"); err != nil {
		t.Fatal(err)
	}
	ends := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		run := s
		run.T = t
		t.Repeat(map[string]func(*rapid.T){
			"offer": run.step(run.make), "look": run.step(run.look), "redeem": run.step(run.redeem), "claim": run.step(run.claim),
			"fetch": run.step(run.fetch), "replay": run.step(run.replay), "notify": run.step(run.notify),
			"wait": run.step(run.wait), "restart": run.step(run.restart), "compare": run.step(run.compare),
		})
		run.T = t
		run.advance(100 * 24 * time.Hour) // longer than any deadline
		run.compare()
		for _, h := range run.holdings {
			if n := len(h.told); n != 2 || h.told[0] != "offered" {
				t.Fatalf("the model itself is wrong: %v", h.told)
			}
			ends[h.state+" "+h.why]++
		}
	})
	server.Check()
	t.Logf("how the issuances ended: %v", ends)
	for _, end := range []string{"completed wallet", "completed grace", "expired ", "failed abandoned", "failed credential_failure", "failed credential_deleted"} {
		if ends[end] == 0 && !t.Failed() {
			t.Errorf("no issuance ended as %q: the test shows too little", end)
		}
	}
}

// withoutRaceDetector runs the same test in a process of its own. The steps of
// a schedule come one after another, so that the detector would find nothing,
// and take ten times as long for it.
func withoutRaceDetector(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "test", "-race=false", "-count=1", "-v", "-run", "^"+t.Name()+"$", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v:\n%s", err, out)
	}
	t.Logf("%s", out)
}

// draw sets how many schedules rapid draws, and how long they are.
func draw(t *testing.T, checks int) {
	t.Helper()
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint(checks), "rapid.steps": "40", "rapid.nofailfile": "true"} {
		before := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { flag.Set(name, before) })
	}
}

// step lets what the model knows of come to the present time before a step.
func (s *schedule) step(do func()) func(*rapid.T) {
	return func(t *rapid.T) {
		s.T = t
		s.passAll()
		do()
	}
}

func (s *schedule) passAll() {
	for _, h := range s.holdings {
		h.pass(s.server.Clock.Now())
	}
}

// one draws an issuance that fits, and gives up the step where there is none.
func (s *schedule) one(fits func(*holding) bool) *holding {
	var some []*holding
	for _, h := range s.holdings {
		if fits(h) {
			some = append(some, h)
		}
	}
	if len(some) == 0 {
		s.Skip("no issuance for this step")
	}
	return rapid.SampledFrom(some).Draw(s.T, "issuance")
}

// got holds a wallet's result against the model's: success, or a refusal of
// the protocol with one of these codes.
func (s *schedule) got(what string, h *holding, err error, want bool, codes ...string) bool {
	refused, _ := errors.AsType[*wallet.ProtocolError](err)
	switch {
	case err == nil && want:
		return true
	case err == nil:
		s.Fatalf("%s of %s succeeds, although it is %s", what, h.id, h.state)
	case want:
		s.Fatalf("%s of %s, which is %s, is refused: %v", what, h.id, h.state, err)
	case refused == nil || !slices.Contains(codes, refused.Code):
		s.Fatalf("%s of %s, which is %s, is refused with %v, want one of %v", what, h.id, h.state, err, codes)
	}
	return false
}

// The steps.

func (s *schedule) make() {
	if len(s.holdings) == 6 {
		s.Skip("enough issuances")
	}
	life := time.Duration(rapid.SampledFrom([]int{1, 60, 3600, 7 * 24 * 3600}).Draw(s.T, "life")) * time.Second
	var made issuance
	status, answer, err := s.server.Request("POST", "/credentials/issuance", apptest.Object{
		"credentialTemplateId": s.template, "attributes": apptest.Object{"name": "someone"}, "expiresIn": int(life.Seconds())})
	if err := errors.Join(err, unmarshalData(answer, &made)); err != nil || status != http.StatusCreated {
		s.Fatalf("offering: status %d, %v: %s", status, err, answer)
	}
	s.holdings = append(s.holdings, &holding{id: made.ID, uri: made.OfferURI,
		story: story{state: "offered", until: s.server.Clock.Now().Add(life), told: []string{"offered"}}})
}

func (s *schedule) look() {
	h := s.one(func(*holding) bool { return true })
	offer, err := s.wallet.ResolveOffer(context.Background(), h.uri)
	if s.got("the offer", h, err, h.state == "offered", "not_found") {
		h.offer = offer
	}
}

func (s *schedule) redeem() {
	h := s.one(func(h *holding) bool { return h.offer != nil })
	token, err := s.wallet.Redeem(context.Background(), s.issuer, h.offer)
	if now := s.server.Clock.Now(); s.got("redemption", h, err, h.story.redeem(now), "invalid_grant") {
		h.token, h.dead = token, now.Add(modelToken)
	}
}

// claim takes the three steps of an undisturbed wallet, or as many as it may.
func (s *schedule) claim() {
	fresh := s.one(func(h *holding) bool { return h.state == "offered" })
	all := s.holdings
	s.holdings = []*holding{fresh}
	s.look()
	s.redeem()
	s.fetch()
	s.holdings = all
}

// hasToken is for steps that need one; now and then one that is over.
func hasToken(h *holding) bool { return h.token != nil }

func (s *schedule) alive(h *holding) bool { return s.server.Clock.Now().Before(h.dead) }

func (s *schedule) fetch() {
	h := s.one(hasToken)
	nonce, err := s.wallet.Nonce(context.Background(), s.issuer)
	if err != nil {
		s.Fatal(err)
	}
	proof, err := s.wallet.Proof(s.issuer, nonce)
	if err != nil {
		s.Fatal(err)
	}
	got, err := s.wallet.Request(context.Background(), s.issuer, h.token, s.template, proof)
	want := s.alive(h) && h.deliver(s.server.Clock.Now())
	if s.got("the credential", h, err, want, "invalid_token", "credential_request_denied") {
		h.proofs, h.note = append(h.proofs, proof), got.NotificationID
	}
}

func (s *schedule) replay() {
	h := s.one(func(h *holding) bool { return len(h.proofs) > 0 })
	_, err := s.wallet.Request(context.Background(), s.issuer, h.token, s.template, rapid.SampledFrom(h.proofs).Draw(s.T, "proof"))
	s.got("a replayed proof", h, err, false, "invalid_token", "invalid_nonce", "invalid_proof", "credential_request_denied")
}

func (s *schedule) notify() {
	h := s.one(func(h *holding) bool { return h.note != "" })
	event := rapid.SampledFrom([]string{wallet.Accepted, wallet.Accepted, wallet.Failure, wallet.Deleted}).Draw(s.T, "event")
	err := s.wallet.Notify(context.Background(), s.issuer, h.token, h.note, event)
	if s.got("a notification", h, err, s.alive(h), "invalid_token") {
		h.story.notify(event)
	}
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

// compare applies what is due and holds the product's issuances and events
// against the model's.
func (s *schedule) compare() {
	s.server.Sweep()
	for _, h := range s.holdings {
		var i struct {
			Status, AcceptedBy string
			Error              struct{ Code string }
		}
		status, answer, err := s.server.Request("GET", "/credentials/"+h.id, nil)
		if err := errors.Join(err, unmarshalData(answer, &i)); err != nil || status != http.StatusOK {
			s.Fatalf("reading %s: status %d, %v: %s", h.id, status, err, answer)
		}
		want := h.state
		if !h.over() {
			want = "offered"
		}
		if i.Status != want || i.AcceptedBy+i.Error.Code != h.why {
			s.Fatalf("issuance %s is %s (%s%s), want %s (%s)", h.id, i.Status, i.AcceptedBy, i.Error.Code, want, h.why)
		}
		var told []string
		for _, e := range list[struct{ EventType string }](s.server.API, "/events?filter[issuanceId]="+h.id) {
			told = append(told, strings.TrimPrefix(e.EventType, "openid4vc.issuance."))
		}
		if !slices.Equal(told, h.told) {
			s.Fatalf("issuance %s, which is %s, told %v; want %v", h.id, h.state, told, h.told)
		}
	}
}

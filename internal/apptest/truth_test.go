package apptest_test

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// holding is one issuance of a schedule: what its wallet has got so far, and
// the model beside it.
type holding struct {
	id, uri     string
	txCode      string   // empty where the offer has none
	credentials []string // their ids
	offer       *wallet.Offer
	token       *wallet.Token
	dead        time.Time // when the token is
	proofs      []proof   // that were accepted
	notes       []string  // the notification ids, by credential
	waits       []string  // the transaction ids of what was deferred
	story
}

// GoString is how a failed schedule names it.
func (h *holding) GoString() string { return h.id + ", " + h.state }

// proof is one for a credential of an issuance.
type proof struct {
	credential int
	text       string
}

// schedule is a random sequence of whatever can happen to some issuances of
// one server, drawn step by step.
type schedule struct {
	*rapid.T
	server    *apptest.Inside
	wallet    *wallet.Wallet
	issuer    *wallet.Issuer
	templates []string
	holdings  []*holding
}

// Whatever happens, in whatever order: the events tell what really happened to
// each issuance, as the model says it. TIDINGS_TRUTH_RUNS sets how many
// schedules are drawn.
func TestEventsAreTrueOfEverySchedule(t *testing.T) {
	if apptest.RaceEnabled {
		withoutRaceDetector(t)
		return
	}
	runs := setting(t, "TIDINGS_TRUTH_RUNS", 1000)
	draw(t, runs)
	server := apptest.NewInside(t, func(c *app.Config) { c.Sandbox = true })
	w := newWallet(t, server.API).WithClock(server.Clock.Now)
	s := schedule{server: server, wallet: w}
	for k := range 3 {
		s.templates = append(s.templates, templateOf(server.API, fmt.Sprint("Badge", k)))
	}
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
			"fetch": run.step(run.fetch), "replay": run.step(run.replay), "notify": run.step(run.notify), "simulate": run.step(run.simulate), "cancel": run.step(run.cancel), "guess": run.step(run.guess), "change": run.step(run.change), "race": run.step(run.race),
			"come back": run.step(run.comeBack), "refresh": run.step(run.refresh), "decide": run.step(run.decide),
			"wait": run.step(run.wait), "restart": run.step(run.restart), "compare": run.step(run.compare),
		})
		run.T = t
		run.advance(100 * 24 * time.Hour) // longer than any deadline
		run.compare()
		for _, h := range run.holdings {
			ended := strings.Join(slices.DeleteFunc(slices.Clone(h.told), func(event string) bool { return strings.HasPrefix(event, "credential.") }), " ")
			if ended != "offered "+h.state && ended != "offered partiallyIssued "+h.state || h.state == "expired" && len(h.told) > 2 { // a wallet never came
				t.Fatalf("the model itself is wrong: %v", h.told)
			}
			ends[h.state+" "+h.why]++
		}
	})
	server.DeleteClaims()
	server.Check()
	t.Logf("how the issuances ended: %v", ends)
	for _, end := range []string{"completed wallet", "completed grace", "expired ", "failed abandoned", "failed incomplete", "failed tx_code", "failed canceled", "failed denied", "failed undecided", "failed credential_failure", "failed credential_deleted"} {
		if ends[end] == 0 && runs >= 100 && !t.Failed() {
			t.Errorf("no issuance ended as %q: the test shows too little", end)
		}
	}
}

// withoutRaceDetector runs the same test in a process of its own: the detector
// takes ten times as long, and finds little where steps come one after another.
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

// act is something that is done to an issuance, and the model of it.
type act struct {
	name  string
	do    func() error
	model func(*story) bool // tells whether it succeeds
	codes []string          // with which it may be refused else
}

// GoString is how a failed schedule names it.
func (a act) GoString() string { return a.name }

// judge holds a result against the model's: success, or a refusal with one of
// the act's codes.
func (a act) judge(h *holding, err error, want bool) error {
	refused, _ := errors.AsType[*wallet.ProtocolError](err)
	switch {
	case want != (err == nil):
		return fmt.Errorf("%s of %s, which is %s, gives %v; that it succeeds should be %v", a.name, h.id, h.state, err, want)
	case err != nil && (refused == nil || !slices.Contains(a.codes, refused.Code)):
		return fmt.Errorf("%s of %s, which is %s, is refused with %v, want one of %v", a.name, h.id, h.state, err, a.codes)
	}
	return nil
}

// take has an act done to an issuance.
func (s *schedule) take(h *holding, a act) {
	err := a.do()
	if err := a.judge(h, err, a.model(&h.story)); err != nil {
		s.Fatal(err)
	}
}

// race has two acts done at the same time. What comes of it must be what comes
// of one before the other, or of the other before the one.
func (s *schedule) race() {
	h := s.one(func(h *holding) bool { return h.offer != nil })
	a, b := rapid.SampledFrom(s.acts(h)).Draw(s.T, "one"), rapid.SampledFrom(s.acts(h)).Draw(s.T, "other")
	var errA, errB error
	together(func() { errA = a.do() }, func() { errB = b.do() })
	s.server.Sweep()
	seen := s.see(h)
	var wrong []error
	for _, first := range []bool{true, false} {
		next := h.story.copy()
		var wantA, wantB bool
		if first {
			wantA = a.model(&next)
		}
		wantB = b.model(&next)
		if !first {
			wantA = a.model(&next)
		}
		err := errors.Join(a.judge(h, errA, wantA), b.judge(h, errB, wantB), seen.differs(h.id, next))
		if err == nil {
			h.story = next
			return
		}
		wrong = append(wrong, err)
	}
	s.Fatalf("%s and %s at once fit neither order:\n%v\nnor\n%v", a.name, b.name, wrong[0], wrong[1])
}

// together does all at the same time, and waits for them.
func together(all ...func()) {
	var group sync.WaitGroup
	for _, do := range all {
		group.Go(do)
	}
	group.Wait()
}

// compare applies what is due and holds the product's issuances and events
// against the model's.
func (s *schedule) compare() {
	s.server.Sweep()
	for _, h := range s.holdings {
		if err := s.see(h).differs(h.id, h.story); err != nil {
			s.Fatal(err)
		}
	}
}

// seen is what the API shows of an issuance.
type seen struct {
	status, why       string
	told, credentials []string // the events; the credentials' states
}

func (s *schedule) see(h *holding) (out seen) {
	var i struct {
		Status, AcceptedBy string
		Error              struct{ Code string }
		Credentials        []struct{ Status string }
	}
	status, answer, err := s.server.Request("GET", "/credentials/"+h.id, nil)
	if err := errors.Join(err, unmarshalData(answer, &i)); err != nil || status != http.StatusOK {
		s.Fatalf("reading %s: status %d, %v: %s", h.id, status, err, answer)
	}
	out.status, out.why = i.Status, i.AcceptedBy+i.Error.Code
	for _, e := range list[struct{ EventType string }](s.server.API, "/events?filter[issuanceId]="+h.id) {
		out.told = append(out.told, strings.TrimPrefix(strings.TrimPrefix(e.EventType, "openid4vc."), "issuance."))
	}
	for _, c := range i.Credentials {
		out.credentials = append(out.credentials, c.Status)
	}
	return out
}

// differs says how what is seen is not what the model says.
func (s seen) differs(id string, m story) error {
	want := m.shown()
	if s.status != want || s.why != m.why || !slices.Equal(s.told, m.told) || !slices.Equal(s.credentials, m.status) {
		return fmt.Errorf("issuance %s is %s (%s) with credentials %v and told %v; want %s (%s) with %v and %v", id, s.status, s.why, s.credentials, s.told, want, m.why, m.status, m.told)
	}
	return nil
}

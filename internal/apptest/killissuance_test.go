package apptest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// template makes a credential template with one text attribute, "name".
func template(a *apptest.API) string { return templateOf(a, "Badge") }

// templateOf makes it with a code.
func templateOf(a *apptest.API, code string) string {
	var made struct{ ID string }
	a.Call("POST", "/templates/credentials", apptest.Object{"name": "Badge", "code": code, "revocable": true,
		"attributes": apptest.Object{"name": apptest.Object{"type": "string", "required": true}}}, http.StatusCreated, &made)
	return made.ID
}

func newWallet(t testing.TB, a *apptest.API) *wallet.Wallet {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return wallet.New(a.HTTP, key)
}

// issuance is one as the API shows it.
type issuance struct {
	ID         string
	Status     string
	AcceptedBy string
	OfferURI   string
	TxCode     struct{ Value string }
}

// holders claim credentials while the server is killed again and again. What a
// wallet then says of its credential goes round: accepted, refused, nothing.
type holders struct {
	t        *testing.T
	api      *apptest.API
	template string
	steps    atomic.Int64 // taken by all of them
	stop     atomic.Bool
	group    sync.WaitGroup

	mu    sync.Mutex
	sure  map[string]string // how an issuance has to end, where a holder was told
	given int               // credentials that arrived
}

// step takes a step, again after the server was away, until it is answered.
func (h *holders) step(do func() error) error {
	defer h.steps.Add(1)
	for {
		err := do()
		refused := (*wallet.ProtocolError)(nil)
		if err == nil || errors.As(err, &refused) && refused.Status < 500 || h.stop.Load() {
			return err
		}
		untilReady(h.api, &h.stop)
	}
}

// hold lets one holder have one credential, as far as it gets.
func (h *holders) hold(n int) {
	ctx, w := context.Background(), newWallet(h.t, h.api)
	var made issuance
	err := h.step(func() error {
		status, answer, err := h.api.Request("POST", "/credentials/issuance", apptest.Object{
			"credentialTemplateId": h.template, "attributes": apptest.Object{"name": fmt.Sprint("holder ", n)}, "expiresIn": 15})
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("offering: status %d: %s", status, answer)
		}
		return errors.Join(err, unmarshalData(answer, &made))
	})
	if err != nil {
		h.t.Errorf("holder %d has no offer: %v", n, err)
		return
	}
	if n%6 == 5 {
		return // never looks at the offer: it expires
	}
	held, err := h.claim(ctx, w, made.OfferURI)
	if err != nil {
		return // an answer was lost in a way that nobody can repair: it ends as expired or failed
	}
	h.mu.Lock()
	h.given++
	h.mu.Unlock()
	say, end := wallet.Accepted, "completed"
	switch n % 3 {
	case 1:
		say, end = wallet.Failure, "failed"
	case 2:
		return // silent: the grace ends
	}
	if h.step(func() error { return held.Notify(ctx, say) }) == nil {
		h.mu.Lock()
		h.sure[made.ID] = end
		h.mu.Unlock()
	}
}

func (h *holders) claim(ctx context.Context, w *wallet.Wallet, offerURI string) (held *wallet.Held, err error) {
	var offer *wallet.Offer
	var issuer *wallet.Issuer
	var token *wallet.Token
	for _, do := range []func() error{
		func() (err error) { offer, err = w.ResolveOffer(ctx, offerURI); return err },
		func() (err error) { issuer, err = w.Discover(ctx, offer.Issuer); return err },
		func() (err error) { token, err = w.Redeem(ctx, issuer, offer); return err },
		func() (err error) { held, err = w.Fetch(ctx, issuer, token, offer.ConfigurationIDs[0]); return err },
	} {
		if err := h.step(do); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// Kills between the steps of issuances: each ends with one terminal event, and
// with the one that its holder was told of.
func TestKillEndsEveryIssuanceOnce(t *testing.T) {
	rounds, people := setting(t, "TIDINGS_CRASH_ROUNDS", 3), 24
	p := apptest.Serve(t, apptest.Setup{Flags: []string{oftenRetried, "--acceptance-grace=2s", "--token-life=5s"}})
	receiver := newTally()
	p.Register(apptest.NewReceiver(t, p.CA, receiver.answer).URL)
	h := &holders{t: t, api: p.API, template: template(p.API), sure: map[string]string{}}
	defer h.group.Wait()
	defer h.stop.Store(true)

	done := make(chan struct{})
	for round := range rounds {
		before := h.steps.Load()
		for n := range people {
			h.group.Go(func() { h.hold(round*people + n) })
		}
		p.Await("some steps of this round are taken", func() bool { return h.steps.Load()-before > int64(people*(round%5+1)) })
		p.Kill()
		p.Start()
	}
	go func() { h.group.Wait(); close(done) }()
	p.Await("every holder is done", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})

	all := awaitEnds(p.API)
	ends, told := map[string]int{}, []string{}
	for _, i := range all {
		ends[i.Status]++
		told = append(told, theStory(t, p.API, i)...)
		// A refusal that came when the grace was over, as the server was away, changes nothing.
		if want := h.sure[i.ID]; want != "" && i.Status != want && i.AcceptedBy != "grace" {
			t.Errorf("issuance %s is %s, although its holder was told that it is %s", i.ID, i.Status, want)
		}
	}
	p.Await("every event has arrived", func() bool { return receiver.missing("/webhooks", told) == 0 })
	t.Logf("%d kills, %d issuances: %v; %d credentials given, %d ends known to holders; %d events", rounds, len(all), ends, h.given, len(h.sure), len(told))
	if h.given == 0 || len(h.sure) == 0 {
		t.Error("no holder got a credential: the test shows nothing")
	}
	p.Check()
}

// awaitEnds waits until all issuances have ended, and gives them.
func awaitEnds(a *apptest.API) (all []issuance) {
	a.Await("every issuance has ended", func() bool {
		all = list[issuance](a, "/credentials")
		for _, i := range all {
			if i.Status == "offered" || i.Status == "partiallyIssued" {
				return false
			}
		}
		return true
	})
	return all
}

// theStory gives the ids of an issuance's events: "offered", and the one that
// ended it.
func theStory(t *testing.T, a *apptest.API, i issuance) (ids []string) {
	t.Helper()
	var types []string
	for _, e := range list[struct{ ID, EventType string }](a, "/events?filter[issuanceId]="+i.ID) {
		ids, types = append(ids, e.ID), append(types, e.EventType)
	}
	if want := []string{offered, "openid4vc.issuance." + i.Status}; fmt.Sprint(types) != fmt.Sprint(want) {
		t.Errorf("issuance %s, now %s, told %v", i.ID, i.Status, types)
	}
	return ids
}

package apptest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// life is one issuance whose steps are taken with a kill of the server between
// every two of them, and how it has to end.
type life struct {
	name  string
	steps []func(*holder) error
	end   string // the status
	why   string // who accepted, or the code of the error
}

// holder is the wallet of a life, and the issuer's program that makes the offer.
type holder struct {
	api      *apptest.API
	wallet   *wallet.Wallet
	template string
	body     apptest.Object // the request for the offer
	made     issuance
	offer    *wallet.Offer
	issuer   *wallet.Issuer
	token    *wallet.Token
	held     *wallet.Held
	waiting  *wallet.Issued // a credential that is deferred
}

// offerFor asks for an offer.
func offerFor(seconds int) func(*holder) error {
	return offerWith(apptest.Object{"expiresIn": seconds})
}

// offerWith asks for an offer with more in the request.
func offerWith(more apptest.Object) func(*holder) error {
	return func(h *holder) error {
		h.body = apptest.Object{"credentialTemplateId": h.template, "attributes": apptest.Object{"name": "somebody"}}
		maps.Copy(h.body, more)
		status, answer, err := h.api.Request("POST", "/credentials/issuance", h.body)
		if err == nil && status != http.StatusCreated {
			err = errors.New(string(answer))
		}
		return errors.Join(err, unmarshalData(answer, &h.made))
	}
}

func look(h *holder) (err error) {
	h.offer, err = h.wallet.ResolveOffer(context.Background(), h.made.OfferURI)
	return err
}

func discover(h *holder) (err error) {
	h.issuer, err = h.wallet.Discover(context.Background(), h.offer.Issuer)
	return err
}

func redeem(h *holder) error {
	token, err := h.wallet.Redeem(context.Background(), h.issuer, h.offer)
	if err == nil {
		h.token = token
	}
	return err
}

func fetch(h *holder) (err error) {
	h.held, err = h.wallet.Fetch(context.Background(), h.issuer, h.token, h.offer.ConfigurationIDs[0])
	return err
}

// enter redeems the offer with the transaction code, or with a wrong one.
func enter(right bool) func(*holder) error {
	return func(h *holder) error {
		code := h.made.TxCode.Value
		if !right {
			code = "no" + code[2:]
		}
		token, err := h.wallet.RedeemWith(context.Background(), h.issuer, h.offer, code)
		if err == nil {
			h.token = token
		}
		return err
	}
}

// tryFetch asks for a credential that is not decided about.
func tryFetch(h *holder) error {
	nonce, err := h.wallet.Nonce(context.Background(), h.issuer)
	if err != nil {
		return err
	}
	proof, err := h.wallet.Proof(h.issuer, nonce)
	if err != nil {
		return err
	}
	h.waiting, err = h.wallet.Request(context.Background(), h.issuer, h.token, h.template, proof)
	if err == nil && h.waiting.TransactionID == "" {
		return errors.New("it is not deferred")
	}
	return err
}

// comeBack asks for the deferred credential.
func comeBack(h *holder) error {
	got, err := h.wallet.Deferred(context.Background(), h.issuer, h.token, h.waiting.TransactionID)
	if err == nil && len(got.Credentials) == 0 {
		return errors.New("it is still deferred")
	}
	return err
}

// call has the issuer's program make an API request about the issuance.
func call(method, path string, body any, want int) func(*holder) error {
	return func(h *holder) error {
		status, answer, err := h.api.Request(method, "/credentials/"+h.made.ID+path, body)
		if err == nil && status != want {
			err = fmt.Errorf("status %d: %s", status, answer)
		}
		return err
	}
}

// tell lets the wallet say what became of the credential.
func tell(event string) func(*holder) error {
	return func(h *holder) error { return h.held.Notify(context.Background(), event) }
}

// refused wants a step to be refused with a code, as one that was taken
// although its answer did not arrive.
func refused(code string, step func(*holder) error) func(*holder) error {
	return func(h *holder) error {
		err := step(h)
		if p, ok := errors.AsType[*wallet.ProtocolError](err); ok && p.Code == code {
			return nil
		}
		return errors.Join(errors.New("it is not refused with "+code), err)
	}
}

// atOnce takes several steps with no kill between them.
func atOnce(steps ...func(*holder) error) func(*holder) error {
	return func(h *holder) error {
		for _, step := range steps {
			if err := step(h); err != nil {
				return err
			}
		}
		return nil
	}
}

// The process is killed between every two steps of an issuance. Whoever goes on
// as a wallet does finds everything as it was, an answer that got lost can be
// had again where the protocol can give it, and the events are true.
func TestKillBetweenEveryTwoSteps(t *testing.T) {
	offer, deferred := offerFor(3600), offerWith(apptest.Object{"deferred": true})
	run := func(name string, flags []string, lives ...life) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killBetween(t, append(flags, oftenRetried), lives)
		})
	}
	run("patient", []string{"--acceptance-grace=1h"},
		life{"accepts", []func(*holder) error{offer, look, discover, redeem, fetch, tell(wallet.Accepted)}, "completed", "wallet"},
		life{"refuses", []func(*holder) error{offer, look, discover, redeem, fetch, tell(wallet.Failure), tell(wallet.Accepted)}, "failed", "credential_failure"},
		life{"deletes", []func(*holder) error{offer, look, discover, redeem, fetch, tell(wallet.Deleted)}, "failed", "credential_deleted"},
		life{"loses every answer that can be had again", []func(*holder) error{offer, look, look, atOnce(discover, redeem), refused("invalid_grant", redeem),
			fetch, fetch, tell(wallet.Accepted), tell(wallet.Accepted), fetch}, "completed", "wallet"},
		life{"mistypes the code", []func(*holder) error{offerWith(apptest.Object{"txCode": true}), look, discover, refused("invalid_grant", enter(false)),
			refused("invalid_grant", enter(false)), enter(true), fetch, tell(wallet.Accepted)}, "completed", "wallet"},
		life{"guesses the code", []func(*holder) error{offerWith(apptest.Object{"txCode": true}), atOnce(look, discover), refused("invalid_grant", enter(false)),
			refused("invalid_grant", enter(false)), refused("invalid_grant", enter(false)), refused("invalid_grant", enter(false)), refused("invalid_grant", enter(false)),
			refused("invalid_grant", enter(true))}, "failed", "tx_code"},
		life{"is canceled", []func(*holder) error{offer, look, call("DELETE", "", nil, http.StatusNoContent), refused("not_found", look)}, "failed", "canceled"},
		life{"is denied", []func(*holder) error{deferred, look, discover, redeem, tryFetch, call("POST", "/deferral", apptest.Object{"decision": "deny"}, http.StatusOK),
			refused("credential_request_denied", comeBack)}, "failed", "denied"},
		life{"is approved", []func(*holder) error{deferred, look, discover, redeem, tryFetch, tryFetch, call("POST", "/deferral", apptest.Object{"decision": "approve"}, http.StatusOK),
			comeBack, comeBack, fetch, tell(wallet.Accepted)}, "completed", "wallet"},
	)
	// Deadlines that pass while nobody is there to apply them.
	run("hasty", []string{"--acceptance-grace=1s", "--token-life=3s"},
		life{"never looks", []func(*holder) error{offerFor(1)}, "expired", ""},
		life{"looks only", []func(*holder) error{atOnce(offerFor(1), look)}, "expired", ""},
		life{"redeems only", []func(*holder) error{atOnce(offer, look, discover, redeem)}, "failed", "abandoned"},
		life{"says nothing", []func(*holder) error{atOnce(offer, look, discover, redeem, fetch)}, "completed", "grace"},
	)
}

func killBetween(t *testing.T, flags []string, lives []life) {
	p := apptest.Serve(t, apptest.Setup{Flags: flags})
	receiver := newTally()
	p.Register(apptest.NewReceiver(t, p.CA, receiver.answer).URL)
	made := template(p.API)
	holders, rounds := make([]*holder, len(lives)), 0
	for k, l := range lives {
		holders[k] = &holder{api: p.API, wallet: newWallet(t, p.API), template: made}
		rounds = max(rounds, len(l.steps))
	}
	for round := range rounds {
		for k, l := range lives {
			if round < len(l.steps) {
				if err := l.steps[round](holders[k]); err != nil {
					t.Fatalf("who %s: step %d: %v", l.name, round+1, err)
				}
			}
		}
		p.Kill()
		p.Start()
	}
	awaitEnds(p.API)
	var told []string
	for k, l := range lives {
		var i struct {
			Status, AcceptedBy string
			Error              struct{ Code string }
		}
		p.Call("GET", "/credentials/"+holders[k].made.ID, nil, http.StatusOK, &i)
		if i.Status != l.end || i.AcceptedBy+i.Error.Code != l.why {
			t.Errorf("who %s: the issuance is %s (%s), want %s (%s)", l.name, i.Status, i.AcceptedBy+i.Error.Code, l.end, l.why)
		}
		told = append(told, theStory(t, p.API, issuance{ID: holders[k].made.ID, Status: l.end})...)
	}
	p.Await("every event has arrived", func() bool { return receiver.missing("/webhooks", told) == 0 })
	if n := strings.Count(p.Logs.String(), "msg=stopping"); n > 0 {
		t.Error("the server was stopped, not killed")
	}
	p.Check()
}

package foreign

import (
	"net/http"
	"testing"
	"time"
)

// codeWallet is a foreign wallet whose user enters transaction codes.
type codeWallet interface {
	// enter has the wallet redeem the offer with a code that is refused.
	enter(code string)
	// take has it redeem the offer with a code that is right, fetch the
	// credential and accept it.
	take(code string)
}

type tsCodes struct{ wallet }

func (w tsCodes) enter(code string) {
	w.t.Helper()
	w.refused("redeem", object{"txCode": code}, http.StatusBadRequest, "invalid_grant")
}

func (w tsCodes) take(code string) {
	w.t.Helper()
	w.do("redeem", object{"txCode": code}, nil)
	w.request()
	w.do("notify", object{"event": "credential_accepted"}, nil)
}

type credoCodes struct{ credo }

func (c credoCodes) enter(code string) {
	c.t.Helper()
	c.refused("redeem", object{"txCode": code}, http.StatusBadRequest, "invalid_grant")
}

func (c credoCodes) take(code string) {
	c.t.Helper()
	c.do("redeem", object{"txCode": code}, nil)
	c.request()
	c.do("notify", object{"event": "credential_accepted"}, nil)
}

type yiviCodes struct{ yivi }

// enter: Yivi's engine asks its user again, and says how often it still will.
func (y yiviCodes) enter(code string) {
	y.t.Helper()
	var asked struct{ Remaining *int }
	if y.do("redeem", object{"txCode": code}, &asked); asked.Remaining == nil {
		y.t.Error("the engine does not ask for the code again")
	}
}

func (y yiviCodes) take(code string) {
	y.t.Helper()
	y.do("redeem", object{"txCode": code}, nil)
	y.keep()
}

// A wrong transaction code burns nothing: the right one works after it.
func TestForeignWalletsEnterAWrongTransactionCode(t *testing.T) {
	t.Parallel()
	for name, resolve := range map[string]func(*world, issuance) codeWallet{
		"oid4vc-ts": func(w *world, i issuance) codeWallet { c := w.wallet(); c.resolve(i.OfferURI); return tsCodes{c} },
		"credo":     func(w *world, i issuance) codeWallet { c := w.credo(); c.resolve(i.OfferURI); return credoCodes{c} },
		"yivi":      func(w *world, i issuance) codeWallet { c := w.yivi(); c.resolve(i); return yiviCodes{c} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, grace(2*time.Second)) // for Yivi's engine, which never notifies
			i := w.issue(object{"txCode": true})
			if i.TxCode == nil || len(i.TxCode.Value) != 6 {
				t.Fatalf("the transaction code is %v", i.TxCode)
			}
			c := resolve(w, i)
			c.enter(i.wrong())
			c.take(i.TxCode.Value)
			if got := w.ends(i.ID, "offered", "completed"); got.TxCode != nil && got.TxCode.Value != "" {
				t.Error("the code is shown a second time")
			}
		})
	}
}

// Too many wrong ones end the issuance, whatever comes then.
func TestAForeignWalletGuessesTransactionCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	i := w.issue(object{"txCode": true})
	c := w.wallet()
	c.resolve(i.OfferURI)
	for range 5 {
		c.refused("redeem", object{"txCode": i.wrong()}, http.StatusBadRequest, "invalid_grant")
	}
	c.refused("redeem", object{"txCode": i.TxCode.Value}, http.StatusBadRequest, "invalid_grant")
	if got := w.ends(i.ID, "offered", "failed"); got.Error == nil || got.Error.Code != "tx_code" {
		t.Errorf("the issuance is %s with the error %+v", got.Status, got.Error)
	}
}

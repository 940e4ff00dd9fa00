package foreign

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
)

// builtYivi builds the program of yivi/: its engine stores with SQLite in pure Go.
var builtYivi = sync.OnceValues(func() (string, error) { return buildModule("yivi") })

// yivi is Yivi's engine.
type yivi struct {
	*stepper
	world *world
}

func (w *world) yivi() yivi {
	w.t.Helper()
	path, err := builtYivi()
	if err != nil {
		w.t.Fatal(err)
	}
	return yivi{stepperOf(startCommand(w.t, w.files.CA, "yivi", []string{path})), w}
}

// from are the parameters of resolve.
func (y yivi) from(i issuance) object {
	return object{"offerUri": i.OfferURI, "issuer": y.world.URL + "/o/default"}
}

// resolve has the engine look at an offer; its user is then asked for consent.
func (y yivi) resolve(i issuance) {
	y.t.Helper()
	var asked struct {
		Issuer string
		Types  []string
	}
	y.do("resolve", y.from(i), &asked)
	if asked.Issuer != y.world.URL+"/o/default" || !slices.Equal(asked.Types, []string{y.world.vct}) {
		y.t.Errorf("the user is asked for %q of %s", asked.Types, asked.Issuer)
	}
}

// redeem takes the offer; its user is then shown the credential, which the
// engine has verified.
func (y yivi) redeem() {
	y.t.Helper()
	var shown struct {
		Credentials []struct {
			Type, Name string
			Claims     map[string]struct {
				String string
				Bool   *bool
			}
		}
	}
	y.do("redeem", nil, &shown)
	if len(shown.Credentials) != 1 {
		y.t.Fatalf("the user is shown %d credentials", len(shown.Credentials))
	}
	c := shown.Credentials[0]
	if c.Type != y.world.vct || c.Name != "Degree" {
		y.t.Errorf("the user is shown a %s of the type %s", c.Name, c.Type)
	}
	for _, name := range []string{"given_name", "birthdate", "degree"} {
		if got := c.Claims[name].String; got != claims[name] {
			y.t.Errorf("the claim %s is %q, want %q", name, got, claims[name])
		}
	}
	if got := c.Claims["honours"].Bool; got == nil || !*got {
		y.t.Error("the claim honours is not true")
	}
}

func (y yivi) keep() {
	y.t.Helper()
	var count struct{ Kept int }
	if y.do("keep", nil, &count); count.Kept != 1 {
		y.t.Errorf("the wallet holds %d credentials", count.Kept)
	}
}

// The engine sends no notification: what it keeps is accepted when the grace is over.
func TestYiviAccepts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(100*time.Millisecond))
	i := w.issue(nil)
	wallet := w.yivi()
	wallet.resolve(i)
	wallet.redeem()
	wallet.keep()
	if got := w.ends(i.ID, "offered", "completed"); got.Status != "completed" || got.AcceptedBy != "grace" {
		t.Errorf("the issuance is %s, accepted by %q", got.Status, got.AcceptedBy)
	}
}

// Whoever declines the offer never redeems it: somebody else may, until it
// expires. (The engine would tell nobody of a credential declined later.)
func TestYiviRefuses(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	w := newWorld(t, func(c *app.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	i := w.issue(object{"expiresIn": 60})
	wallet := w.yivi()
	wallet.resolve(i)
	var got struct{ Cancelled bool }
	if wallet.do("decline", nil, &got); !got.Cancelled {
		t.Error("the engine goes on")
	}
	w.ends(i.ID, "offered")
	w.yivi().resolve(i)
	ahead.Store(int64(61 * time.Second))
	if got := w.ends(i.ID, "offered", "expired"); got.Status != "expired" {
		t.Errorf("the issuance is %s", got.Status)
	}
}

// The offer works once.
func TestYiviRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(100*time.Millisecond))
	i := w.issue(nil)
	first, second := w.yivi(), w.yivi()
	first.resolve(i)
	second.resolve(i)
	first.redeem()
	second.refusedFor("redeem", nil, "invalid_grant")
	first.keep()
	w.ends(i.ID, "offered", "completed")
	w.yivi().refusedFor("resolve", second.from(i), "not found or expired")
}

func TestYiviComesTooLate(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	w := newWorld(t, func(c *app.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	i := w.issue(object{"expiresIn": 60})
	wallet := w.yivi()
	wallet.resolve(i)
	ahead.Store(int64(61 * time.Second))
	wallet.refusedFor("redeem", nil, "invalid_grant")
	if got := w.ends(i.ID, "offered", "expired"); got.Status != "expired" {
		t.Errorf("the issuance is %s", got.Status)
	}
}

// refusedFor has a step carried out, which must be refused with a reason.
func (y yivi) refusedFor(step string, parameters map[string]any, reason string) {
	y.t.Helper()
	if r := y.try(step, parameters, nil); r == nil || !strings.Contains(r.Message, reason) {
		y.t.Errorf("%s is refused with %v, want %q", step, r, reason)
	}
}

// The module of its own is no part of the product's: nothing of it may come in.
func TestTheProductNeedsNothingOfYivi(t *testing.T) {
	for _, name := range []string{"../../go.mod", "../../go.sum"} {
		text, err := os.ReadFile(name)
		if err != nil || strings.Contains(string(text), "irmago") {
			t.Errorf("%s names the engine: %v", name, err)
		}
	}
}

// change takes the credential of an issuance back, or gives it back.
func (w *world) change(i issuance, change string) {
	w.t.Helper()
	w.Call("POST", "/credentials/"+change, object{"ids": []string{i.Credentials[0].ID}}, http.StatusNoContent, nil)
}

// Yivi's engine verifies the status list when it gets a credential, and again
// when it looks for changes. It knows no suspension of its own.
func TestYiviSeesWhatIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(100*time.Millisecond))
	i := w.issue(nil)
	wallet := w.yivi()
	wallet.resolve(i)
	wallet.redeem()
	wallet.keep()
	w.ends(i.ID, "offered", "completed")
	sees := func(when string, want int) {
		t.Helper()
		var got struct{ Revoked int }
		if wallet.do("refresh", nil, &got); got.Revoked != want {
			t.Errorf("%s: the engine sees %d revoked credentials, want %d", when, got.Revoked, want)
		}
	}
	sees("at first", 0)
	for _, step := range []struct {
		change  string
		revoked int
	}{{"suspend", 1}, {"resume", 0}, {"revoke", 1}} {
		w.change(i, step.change)
		sees("after "+step.change, step.revoked)
	}
}

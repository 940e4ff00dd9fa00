package foreign

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tidings/internal/apptest"
	"tidings/internal/localca"
)

type object = apptest.Object

// claims are what is certified; everything in them is personal.
var claims = object{
	"given_name": "Zoë Canary-7431", "birthdate": "1987-03-14", "points": 41.5, "honours": true,
	"degree": "Master of Canaries 7431",
}

// world is a server with one template and one endpoint.
type world struct {
	*apptest.App
	t        *testing.T
	files    localca.Files
	receiver *apptest.Receiver
	secret   string // of the endpoint
	template string
	vct      string
	secrets  []string // must not stand in the log
}

// issuance is an issuance as the API shows it.
type issuance struct {
	ID, Status, OfferURI, AcceptedBy string
	Error                            *struct{ Code string }
	TxCode                           *struct{ Value string }
	Credentials                      []struct{ ID string }
}

func newWorld(t *testing.T, options ...apptest.Option) *world {
	t.Helper()
	w := &world{App: apptest.New(t, options...), t: t}
	var err error
	if w.files, err = w.CA.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	w.receiver = apptest.NewReceiver(t, w.CA, nil)
	w.secret = w.Secret(w.Register(w.receiver.URL))
	var template struct{ ID, Type string }
	w.Call("POST", "/templates/credentials", object{
		"name": "Degree", "code": "degree", "credentialFormat": "sd-jwt", "revocable": true,
		"attributes": object{
			"given_name": object{"type": "string", "name": "Given name", "required": true},
			"birthdate":  object{"type": "date"},
			"points":     object{"type": "number"},
			"honours":    object{"type": "boolean"},
			"degree":     object{"type": "string", "required": true, "alwaysDisclosed": true},
		},
	}, http.StatusCreated, &template)
	w.template, w.vct = template.ID, template.Type
	w.keep(w.secret, w.Token(), apptest.ClientSecret, "Canary-7431", "Canaries 7431", "1987-03-14")
	t.Cleanup(w.checkLog)
	return w
}

// keep says what must not stand in the log.
func (w *world) keep(secrets ...string) { w.secrets = append(w.secrets, secrets...) }

// checkLog stops the server and looks for secrets in all that it logged.
func (w *world) checkLog() {
	w.t.Helper()
	if err := w.Stop(); err != nil {
		return // reported by whoever started it
	}
	log := w.Logs.String()
	for _, secret := range w.secrets {
		if secret == "" || strings.Contains(log, secret) {
			w.t.Errorf("the log holds the secret %q", secret)
		}
	}
	if w.t.Failed() {
		w.t.Logf("the server logged:\n%s", log)
	}
}

// issue offers the credential. more is added to the request.
func (w *world) issue(more object) issuance {
	w.t.Helper()
	body := object{"credentialTemplateId": w.template, "attributes": claims}
	for name, value := range more {
		body[name] = value
	}
	var i issuance
	w.Call("POST", "/credentials/issuance", body, http.StatusCreated, &i)
	link, err := url.Parse(i.OfferURI)
	if err != nil {
		w.t.Fatal(err)
	}
	offer := link.Query().Get("credential_offer_uri")
	w.keep(offer[strings.LastIndex(offer, "/")+1:])
	return i
}

// wrong gives a transaction code that is not the one.
func (i issuance) wrong() string {
	if i.TxCode.Value == "000000" {
		return "111111"
	}
	return "000000"
}

// ends waits for the webhooks of an issuance, as told does, and gives the
// issuance then.
func (w *world) ends(id string, types ...string) issuance {
	w.t.Helper()
	w.told(id, types...)
	return w.issuance(id)
}

// told waits for the webhooks of an issuance, which must be of these types, in
// this order, signed, and no more.
func (w *world) told(id string, types ...string) {
	w.t.Helper()
	var mine []apptest.Received
	w.receiver.Until(func(got []apptest.Received) bool {
		mine = slices.DeleteFunc(got, func(r apptest.Received) bool { return !strings.Contains(string(r.Body), id) })
		return len(mine) >= len(types)
	})
	verifier, err := standardwebhooks.NewWebhook(w.secret)
	if err != nil {
		w.t.Fatal(err)
	}
	for k, got := range mine {
		want := `{"eventType":"openid4vc.issuance.` + types[min(k, len(types)-1)] + `","payload":{"openId4VcIssuanceId":"` + id + `"}}`
		if string(got.Body) != want {
			w.t.Errorf("webhook %d is %s, want %s", k+1, got.Body, want)
		}
		if err := verifier.Verify(got.Body, got.Header); err != nil {
			w.t.Errorf("webhook %d: %v", k+1, err)
		}
	}
	// An event is there as soon as what it tells of: so these are all.
	var events []struct{ ID string }
	w.Call("GET", "/events?filter[issuanceId]="+id, nil, http.StatusOK, &events)
	if len(mine) != len(types) || len(events) != len(types) {
		w.t.Errorf("%d webhooks and %d events, want %d", len(mine), len(events), len(types))
	}
}

func (w *world) issuance(id string) issuance {
	w.t.Helper()
	var i issuance
	w.Call("GET", "/credentials/"+id, nil, http.StatusOK, &i)
	return i
}

// wallet is the foreign wallet.
type wallet struct {
	*stepper
	world *world
}

func (w *world) wallet() wallet {
	w.t.Helper()
	return wallet{startStepper(w.t, w.files.CA, "wallet.mjs"), w}
}

// resolved is what the wallet makes of an offer.
type resolved struct {
	Issuer, Version, Code string
	Configurations        []string
	Understood            object // the configuration's metadata
}

func (w wallet) resolve(offerURI string) resolved {
	w.t.Helper()
	var r resolved
	w.do("resolve", object{"offerUri": offerURI}, &r)
	w.world.keep(r.Code)
	return r
}

func (w wallet) redeem() {
	w.t.Helper()
	var token struct {
		AccessToken, Type string
		ExpiresIn         int
	}
	w.do("redeem", nil, &token)
	w.world.keep(token.AccessToken)
	if !strings.EqualFold(token.Type, "Bearer") || token.ExpiresIn < 1 || token.ExpiresIn > 300 {
		w.t.Errorf("token of type %q for %d seconds", token.Type, token.ExpiresIn)
	}
}

// held is what the wallet makes of a credential that it verified.
type held struct {
	Typ, Issuer, VCT, Type, BoundTo, Holder string
	NotificationID, Text                    string
	Iat                                     int64
	Claims                                  object
	Withholdable, TypeClaims                []string
}

func (w wallet) request() held {
	w.t.Helper()
	var h held
	w.do("request", nil, &h)
	jwt, _, _ := strings.Cut(h.Text, "~")
	w.world.keep(h.NotificationID, jwt)
	return h
}

// claim does all from the offer to the credential.
func (w wallet) claim(offerURI string) held {
	w.t.Helper()
	w.resolve(offerURI)
	w.redeem()
	return w.request()
}

// sameJSON tells whether two values are written alike.
func sameJSON(t testing.TB, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

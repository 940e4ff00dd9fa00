package console

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// offerForm is the form of an offer, made from the attributes of its templates.
type offerForm struct {
	Templates   []option // that can still be added
	Credentials []credentialFields
	Lives       []option
	TxCodes     []option
	Deferred    bool
	Once        string // the same form, sent twice, makes one offer
	Errors      formErrors
}

// credentialFields are the fields of one credential of the offer.
type credentialFields struct {
	tidings.Template
	Fields  []claimField
	Problem string
}

// claimField is the field of one attribute.
type claimField struct {
	Name  string // of the field
	Label string
	tidings.Attribute
	Value   string
	Problem string
}

// claimName is the name of the field of a template's claim.
func claimName(templateID, claim string) string { return "claim." + templateID + "." + claim }

func (c *Console) newIssuance(ctx context.Context, r *request) (answer, error) {
	return c.offerFormAnswer(ctx, r, r.query, nil)
}

// offerFormAnswer shows the form as it was sent: the templates that it names and
// what was typed.
func (c *Console) offerFormAnswer(ctx context.Context, r *request, sent url.Values, wrong formErrors) (answer, error) {
	all, err := c.allTemplates(ctx, r)
	if err != nil {
		return answer{}, err
	}
	usable := slices.DeleteFunc(all, func(t tidings.Template) bool { return t.ArchivedAt != nil })
	chosen := sent["template"]
	if len(chosen) == 0 && len(usable) == 1 {
		chosen = []string{usable[0].ID}
	}
	f := offerForm{Errors: wrong, Lives: lifeOptions(c.cfg.OfferLife, sent.Get("life")), TxCodes: txCodeOptions(sent.Get("txCode")),
		Deferred: sent.Get("deferred") != "", Once: cmp.Or(sent.Get("once"), newRequestID())}
	for _, t := range usable {
		if !slices.Contains(chosen, t.ID) {
			f.Templates = append(f.Templates, option{Value: t.ID, Label: t.Name})
		}
	}
	for k, id := range chosen { // in the order in which they were chosen
		n := slices.IndexFunc(usable, func(t tidings.Template) bool { return t.ID == id })
		if n >= 0 && !slices.Contains(chosen[:k], id) {
			f.Credentials = append(f.Credentials, credentialFields{usable[n], claimFields(usable[n], sent, wrong), wrong["template."+id]})
		}
	}
	a := answer{page: "issuance-form", title: "New offer", section: "issuances", body: f}
	if wrong != nil {
		a.status = http.StatusBadRequest
	}
	return a, nil
}

// claimFields are the fields of a template: what is required first.
func claimFields(t tidings.Template, sent url.Values, wrong formErrors) (out []claimField) {
	for claim, a := range t.Attributes {
		name := claimName(t.ID, claim)
		out = append(out, claimField{Name: name, Label: cmp.Or(a.Name, claim), Attribute: a, Value: sent.Get(name), Problem: wrong[name]})
	}
	slices.SortFunc(out, func(a, b claimField) int {
		if a.Required != b.Required {
			if a.Required {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Label, b.Label)
	})
	return out
}

func lifeOptions(standard time.Duration, chosen string) []option {
	return options(chosen, "", duration(standard)+", as the server is set", "15m", "15 minutes", "1h", "an hour", "24h", "a day", "168h", "7 days", "720h", "30 days", "2160h", "90 days")
}

// txCodes are the transaction codes that the form offers.
var txCodes = map[string]tidings.TxCode{
	"":        {},
	"numeric": {Length: tidings.DefaultTxCodeLength, InputMode: tidings.InputNumeric},
	"text":    {Length: 8, InputMode: tidings.InputText},
}

func txCodeOptions(chosen string) []option {
	return options(chosen, "", "no: whoever has the offer can accept it", "numeric", "yes: 6 digits", "text", "yes: 8 letters and digits")
}

// createIssuance makes the offer, unless the form only grows or shrinks.
func (c *Console) createIssuance(ctx context.Context, r *request) (answer, error) {
	if drop := r.form.Get("drop"); drop != "" {
		r.form["template"] = slices.DeleteFunc(r.form["template"], func(id string) bool { return id == drop })
		return c.offerFormAnswer(ctx, r, r.form, nil)
	}
	if r.form.Has("more") {
		r.form["template"] = append(r.form["template"], r.form.Get("add"))
		return c.offerFormAnswer(ctx, r, r.form, nil)
	}
	i, err := c.offer(ctx, r)
	if wrong, ok := offerErrors(r.form["template"], err); ok {
		return c.offerFormAnswer(ctx, r, r.form, wrong)
	}
	if err != nil {
		return answer{}, err
	}
	return c.offered(i), nil
}

// offered leads to an offer that was made. Its transaction code is shown once,
// before; sent again, the form leads to the offer without it.
func (c *Console) offered(i tidings.Issuance) answer {
	to := link("/issuances/"+i.ID, "done", "offered")
	if i.TxCode.Value == "" {
		return answer{redirect: to}
	}
	return answer{page: "tx-code", title: "Transaction code", section: "issuances", body: struct{ Code, To string }{i.TxCode.Value, to}}
}

func (c *Console) offer(ctx context.Context, r *request) (i tidings.Issuance, err error) {
	code, known := txCodes[r.form.Get("txCode")]
	if !known {
		return i, tidings.Invalid("/txCode", "Choose whether there is a transaction code.")
	}
	wanted := tidings.WantedIssuance{Life: c.cfg.OfferLife, TxCode: code, Deferred: r.form.Get("deferred") != "", Origin: r.once("offer")}
	if chosen := r.form.Get("life"); chosen != "" {
		if wanted.Life, err = time.ParseDuration(chosen); err != nil {
			return i, tidings.Invalid("/life", "Choose for how long the offer is open.")
		}
	}
	ids := r.form["template"]
	if len(ids) == 0 || len(ids) > tidings.MaxCredentials {
		return i, tidings.Invalid("", "An offer holds 1 to %d credentials.", tidings.MaxCredentials)
	}
	for k, id := range ids {
		at := "/credentials/" + strconv.Itoa(k)
		if !plausible(id) {
			return i, tidings.Invalid(at, "Choose a template.")
		}
		t, err := c.cfg.Templates.Template(ctx, r.org(), id)
		if err != nil {
			return i, err
		}
		claims, err := readClaims(t, at, r.form)
		if err != nil {
			return i, err
		}
		wanted.Credentials = append(wanted.Credentials, tidings.WantedCredential{At: at, TemplateID: id, Claims: claims})
	}
	return c.cfg.Issuer.Offer(ctx, r.Organisation, wanted)
}

// once is the origin of a change that a form makes only once, however often it
// is sent with the same content: a second press and a reload change nothing.
func (r *request) once(what string) tidings.Origin {
	o := r.origin()
	if token := r.form.Get("once"); len(token) <= 64 && token != "" {
		content := maps.Clone(r.form)
		delete(content, "csrf")
		sum := sha256.Sum256([]byte(content.Encode()))
		o.Idempotency = &tidings.Idempotency{Route: "console " + what, Key: token + ":" + hex.EncodeToString(sum[:8]), Hash: sum}
	}
	return o
}

// readClaims turns the fields into values of the attributes' types. What is left
// empty is not there. Errors point below at.
func readClaims(t tidings.Template, at string, form url.Values) (map[string]any, error) {
	out := map[string]any{}
	for claim, a := range t.Attributes {
		text := strings.TrimSpace(form.Get(claimName(t.ID, claim)))
		if text == "" {
			continue
		}
		switch a.Type {
		case tidings.AttributeNumber:
			number, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, tidings.Invalid(at+"/attributes/"+claimToken(claim), "This must be a number.")
			}
			out[claim] = number
		case tidings.AttributeBoolean:
			out[claim] = text == "true"
		default:
			out[claim] = text
		}
	}
	return out, nil
}

// claimToken writes a claim as a token of a JSON pointer (RFC 6901, section 3),
// and claimOf reads it.
func claimToken(claim string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(claim) }
func claimOf(token string) string    { return strings.NewReplacer("~1", "/", "~0", "~").Replace(token) }

// offerErrors names the field that an error is about: that of a claim, a
// credential as a whole, or none.
func offerErrors(templates []string, err error) (formErrors, bool) {
	e, is := errors.AsType[*tidings.Error](err)
	if !is || e.Kind != tidings.KindInvalid {
		return nil, false
	}
	parts := strings.Split(strings.TrimPrefix(e.Pointer, "/"), "/")
	if len(parts) < 2 || parts[0] != "credentials" {
		return formErrors{"": e.Message}, true
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil || n < 0 || n >= len(templates) {
		return formErrors{"": e.Message}, true
	}
	if len(parts) > 3 && parts[2] == "attributes" {
		return formErrors{claimName(templates[n], claimOf(parts[3])): e.Message}, true
	}
	return formErrors{"template." + templates[n]: e.Message}, true
}

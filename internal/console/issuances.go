package console

import (
	"cmp"
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/internal/qrcode"
)

// issuanceStatuses are those that a filter can choose.
var issuanceStatuses = []string{"offered", "partiallyIssued", "completed", "failed", "expired"}

// issuanceList is a page of the issuances.
type issuanceList struct {
	Filtered  bool
	Templates []option
	Statuses  []option
	Issuances []issuanceRow
	Pager     pager
}

// issuanceRow is an issuance with the names of what it offers.
type issuanceRow struct {
	tidings.Issuance
	Names string
}

func (c *Console) listIssuances(ctx context.Context, r *request) (answer, error) {
	f := tidings.IssuanceFilter{Status: r.query.Get("status"), TemplateID: r.query.Get("template")}
	p := issuanceList{Filtered: f != tidings.IssuanceFilter{}, Statuses: options(f.Status, "", "every status")}
	for _, s := range issuanceStatuses {
		p.Statuses = append(p.Statuses, option{s, s, s == f.Status})
	}
	templates, err := c.allTemplates(ctx, r)
	if err != nil {
		return answer{}, err
	}
	p.Templates = []option{{"", "every template", f.TemplateID == ""}}
	names := map[string]string{}
	for _, t := range templates {
		names[t.ID] = t.Name
		p.Templates = append(p.Templates, option{t.ID, t.Name, t.ID == f.TemplateID})
	}
	var l tidings.List[tidings.Issuance]
	if (f.Status == "" || slices.Contains(issuanceStatuses, f.Status)) && (f.TemplateID == "" || plausible(f.TemplateID)) {
		if l, err = c.cfg.Issuances.Issuances(ctx, r.org(), f, pageOf(r)); err != nil {
			return answer{}, err
		}
	}
	for _, i := range l.Items {
		p.Issuances = append(p.Issuances, issuanceRow{i, credentialNames(i, names)})
	}
	p.Pager = pagerOf("/issuances", r.query, l, func(i tidings.Issuance) string { return i.ID })
	return answer{page: "issuances", title: "Issuances", section: "issuances", body: p}, nil
}

func credentialNames(i tidings.Issuance, names map[string]string) string {
	var out []string
	for _, c := range i.Credentials {
		out = append(out, cmp.Or(names[c.TemplateID], c.TemplateID))
	}
	return strings.Join(out, ", ")
}

// maxTemplates bounds the templates that a page chooses from.
const maxTemplates = 500

// allTemplates gives the organisation's templates by name, up to maxTemplates.
func (c *Console) allTemplates(ctx context.Context, r *request) (out []tidings.Template, err error) {
	p := tidings.Page{Size: tidings.MaxPageSize}
	for len(out) < maxTemplates {
		l, err := c.cfg.Templates.Templates(ctx, r.org(), tidings.TemplateFilter{Order: tidings.TemplatesByName}, p)
		if err != nil {
			return nil, err
		}
		if out = append(out, l.Items...); !l.HasNext {
			return out, nil
		}
		p.After = l.Items[len(l.Items)-1].ID
	}
	return out, nil
}

// issuanceForm is the form of an offer, made from a template's attributes.
type issuanceForm struct {
	Templates []option
	Template  *tidings.Template // nil: none is chosen yet
	Fields    []claimField
	Lives     []option
	Errors    formErrors
}

// claimField is the field of one attribute.
type claimField struct {
	Claim string
	Label string
	tidings.Attribute
	Value   string
	Problem string
}

func (c *Console) newIssuance(ctx context.Context, r *request) (answer, error) {
	return c.issuanceFormAnswer(ctx, r, r.query.Get("template"), url.Values{}, nil)
}

func (c *Console) issuanceFormAnswer(ctx context.Context, r *request, templateID string, sent url.Values, wrong formErrors) (answer, error) {
	all, err := c.allTemplates(ctx, r)
	if err != nil {
		return answer{}, err
	}
	f := issuanceForm{Errors: wrong, Lives: lifeOptions(c.cfg.OfferLife, sent.Get("life"))}
	usable := slices.DeleteFunc(all, func(t tidings.Template) bool { return t.ArchivedAt != nil })
	for k, t := range usable {
		chosen := t.ID == templateID || templateID == "" && len(usable) == 1
		if f.Templates = append(f.Templates, option{t.ID, t.Name, chosen}); chosen {
			f.Template = &usable[k]
		}
	}
	if f.Template != nil {
		f.Fields = claimFields(*f.Template, sent, wrong)
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
		out = append(out, claimField{Claim: claim, Label: cmp.Or(a.Name, claim), Attribute: a, Value: sent.Get("claim." + claim), Problem: wrong["claim."+claim]})
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

func (c *Console) createIssuance(ctx context.Context, r *request) (answer, error) {
	id := r.form.Get("template")
	i, err := c.offer(ctx, r, id)
	if wrong, ok := offerErrors(err); ok {
		return c.issuanceFormAnswer(ctx, r, id, r.form, wrong)
	}
	return answer{redirect: link("/issuances/"+i.ID, "done", "offered")}, err
}

func (c *Console) offer(ctx context.Context, r *request, templateID string) (i tidings.Issuance, err error) {
	if !plausible(templateID) {
		return i, tidings.Invalid("/credentialTemplateId", "Choose a template.")
	}
	t, err := c.cfg.Templates.Template(ctx, r.org(), templateID)
	if err != nil {
		return i, err
	}
	life := c.cfg.OfferLife
	if chosen := r.form.Get("life"); chosen != "" {
		if life, err = time.ParseDuration(chosen); err != nil {
			return i, tidings.Invalid("/life", "Choose for how long the offer is open.")
		}
	}
	claims, err := readClaims(t, r.form)
	if err != nil {
		return i, err
	}
	return c.cfg.Issuer.Offer(ctx, r.Organisation, tidings.WantedIssuance{
		Credentials: []tidings.WantedCredential{{TemplateID: templateID, Claims: claims}}, Life: life, Origin: r.origin(),
	})
}

// readClaims turns the fields into values of the attributes' types. What is left
// empty is not there.
func readClaims(t tidings.Template, form url.Values) (map[string]any, error) {
	out := map[string]any{}
	for claim, a := range t.Attributes {
		text := strings.TrimSpace(form.Get("claim." + claim))
		if text == "" {
			continue
		}
		switch a.Type {
		case tidings.AttributeNumber:
			number, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, tidings.Invalid("/attributes/"+claimToken(claim), "This must be a number.")
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

// offerErrors names the field of a claim that an error is about.
func offerErrors(err error) (formErrors, bool) {
	e, is := errors.AsType[*tidings.Error](err)
	if !is || e.Kind != tidings.KindInvalid {
		return nil, false
	}
	parts := strings.Split(strings.TrimPrefix(e.Pointer, "/"), "/")
	if n := slices.Index(parts, "attributes"); n >= 0 && n+1 < len(parts) {
		return formErrors{"claim." + claimOf(parts[n+1]): e.Message}, true
	}
	return formErrors{"": e.Message}, true
}

// issuancePage is one issuance with its story.
type issuancePage struct {
	tidings.Issuance
	Names    string
	Open     bool // a wallet can still accept it
	QR       template.HTML
	Link     string       // for a wallet elsewhere
	App      template.URL // for a wallet on this device
	Moments  []moment
	Outcome  string
	Live     bool
	Webhooks int
}

// moment is a row of the story: what happened, and the webhooks that it caused.
type moment struct {
	At         time.Time
	Words      string
	Who        string // "wallet", "issuer" or "time"
	Event      *tidings.Event
	Deliveries []tidings.Delivery
}

func (c *Console) showIssuance(ctx context.Context, r *request) (answer, error) {
	id := r.path("id")
	if !plausible(id) {
		return answer{}, tidings.NotFound("issuance", "")
	}
	i, err := c.cfg.Issuances.Issuance(ctx, r.org(), id)
	if err != nil {
		return answer{}, err
	}
	p := issuancePage{Issuance: i, Open: i.State == tidings.StateOffered && c.cfg.Now().Before(i.ExpiresAt), Live: true, Outcome: outcome(i)}
	templates, err := c.allTemplates(ctx, r)
	if err != nil {
		return answer{}, err
	}
	names := map[string]string{}
	for _, t := range templates {
		names[t.ID] = t.Name
	}
	p.Names = credentialNames(i, names)
	if p.Open {
		if err := p.addOffer(c.cfg.Issuer.OfferURI(i)); err != nil {
			return answer{}, err
		}
	}
	if err := c.addMoments(ctx, r, &p); err != nil {
		return answer{}, err
	}
	return answer{page: "issuance", title: "Issuance", section: "issuances", body: p}, nil
}

// addOffer adds the offer's link and, as a QR code, what a wallet that scans it
// opens (OID4VCI 1.0, section 4.1).
func (p *issuancePage) addOffer(link string) (err error) {
	u, err := url.Parse(link)
	if err != nil {
		return err
	}
	app := "openid-credential-offer://?credential_offer_uri=" + url.QueryEscape(u.Query().Get("credential_offer_uri"))
	p.Link, p.App = link, template.URL(app) // made here
	svg, err := qrcode.SVG(app, "QR code of the offer")
	p.QR = template.HTML(svg) // made here
	return err
}

// outcome says how an issuance ended.
func outcome(i tidings.Issuance) string {
	switch {
	case i.Error != nil:
		return i.Error.Message
	case i.State == tidings.StateExpired:
		return "The offer ran out before a wallet accepted it."
	case i.State == tidings.StateCompleted && i.AcceptedBy == tidings.AcceptedByGrace:
		return "The wallet did not refuse the credential in time, which counts as accepted."
	case i.State == tidings.StateCompleted:
		return "The wallet said that it has accepted the credential."
	}
	return ""
}

// stepWords say what a step of an issuance is, and who takes it.
var stepWords = map[string]moment{
	"retrieve":            {Words: "The wallet fetched the offer", Who: "wallet"},
	"redeem":              {Words: "The wallet redeemed the offer's code for a token", Who: "wallet"},
	"deliver":             {Words: "The wallet fetched the credential", Who: "wallet"},
	"credential_accepted": {Words: "The wallet said that it accepted the credential", Who: "wallet"},
	"credential_failure":  {Words: "The wallet said that it could not use the credential", Who: "wallet"},
	"credential_deleted":  {Words: "The wallet said that the holder deleted the credential", Who: "wallet"},
	"refresh":             {Words: "The wallet renewed its token", Who: "wallet"},
	"simulate":            {Words: "An end was simulated", Who: "issuer"},
	"cancel":              {Words: "The offer was canceled", Who: "issuer"},
	"defer":               {Words: "The wallet was told to come again later", Who: "wallet"},
	"approve":             {Words: "The credential was approved", Who: "issuer"},
	"deny":                {Words: "The credential was denied", Who: "issuer"},
}

// addMoments puts the steps beside the events that they caused: both carry the
// time of the transaction that wrote them.
func (c *Console) addMoments(ctx context.Context, r *request, p *issuancePage) error {
	steps, err := c.cfg.Issuances.IssuanceSteps(ctx, r.org(), p.ID)
	if err != nil {
		return err
	}
	events, err := c.cfg.Events.Events(ctx, r.org(), tidings.EventFilter{IssuanceID: p.ID}, tidings.Page{})
	if err != nil {
		return err
	}
	sent, err := c.cfg.Deliveries.Deliveries(ctx, r.org(), tidings.DeliveryFilter{IssuanceID: p.ID}, tidings.Page{})
	if err != nil {
		return err
	}
	byEvent := map[string][]tidings.Delivery{}
	for _, d := range slices.Backward(sent.Items) {
		byEvent[d.EventID] = append(byEvent[d.EventID], d)
	}
	p.Webhooks = len(sent.Items)
	for _, s := range steps {
		m := stepWords[cmp.Or(s.Detail, s.Name)]
		m.At, m.Words = s.At, cmp.Or(m.Words, s.Name+" "+s.Detail)
		p.Moments = append(p.Moments, m)
	}
	for k := range events.Items {
		e := &events.Items[k]
		caused := -1
		for n, m := range p.Moments { // the last step of that moment
			if m.At.Equal(e.CreatedAt) && m.Event == nil {
				caused = n
			}
		}
		if caused < 0 {
			p.Moments = append(p.Moments, endMoment(*p, e))
			caused = len(p.Moments) - 1
		}
		p.Moments[caused].Event, p.Moments[caused].Deliveries = e, byEvent[e.ID]
	}
	slices.SortStableFunc(p.Moments, func(a, b moment) int { return a.At.Compare(b.At) })
	return nil
}

// endMoment is the moment of an event that no step of a wallet caused.
func endMoment(p issuancePage, e *tidings.Event) moment {
	m := moment{At: e.CreatedAt, Who: "time"}
	switch {
	case e.Type == tidings.IssuanceOffered:
		m.Who, m.Words = "issuer", "The offer was made"
	case e.Type == tidings.IssuanceExpired:
		m.Words = "The offer ran out"
	case e.Type == tidings.IssuanceCompleted:
		m.Words = "The time in which the wallet could refuse was over"
	case e.Type == tidings.IssuanceFailed && p.Error != nil:
		m.Words = strings.TrimSuffix(p.Error.Message, ".")
	default:
		m.Words = string(e.Type)
	}
	return m
}

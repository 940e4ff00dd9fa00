package console

import (
	"cmp"
	"context"
	"html/template"
	"net/http"
	"net/url"
	"slices"
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
	Holds    []heldCredential

	CanCancel, CanDecide, CanReissue bool

	Once    string // an offer that is made again is made once
	Problem string // why the last action was not done
}

// heldCredential is a credential of the issuance with what can be done to it.
type heldCredential struct {
	tidings.Credential
	Name                             string
	CanSuspend, CanResume, CanRevoke bool
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
	i, err := c.issuance(ctx, r)
	if err != nil {
		return answer{}, err
	}
	return c.issuanceAnswer(ctx, r, i, "")
}

// issuance finds the issuance of the path.
func (c *Console) issuance(ctx context.Context, r *request) (tidings.Issuance, error) {
	id := r.path("id")
	if !plausible(id) {
		return tidings.Issuance{}, tidings.NotFound("issuance", "")
	}
	return c.cfg.Issuances.Issuance(ctx, r.org(), id)
}

// issuanceAnswer is the page of an issuance, with why something was not done,
// if it was not.
func (c *Console) issuanceAnswer(ctx context.Context, r *request, i tidings.Issuance, problem string) (answer, error) {
	p := issuancePage{Issuance: i, Open: i.State == tidings.StateOffered && c.cfg.Now().Before(i.ExpiresAt), Live: problem == "", Outcome: outcome(i),
		CanCancel: !i.State.Terminal() && i.State != tidings.StateDelivered, CanDecide: !i.State.Terminal() && i.Deferral == tidings.DeferralPending,
		CanReissue: i.State.Terminal() && !i.ClaimsDeleted(), Once: newRequestID(), Problem: problem}
	templates, err := c.allTemplates(ctx, r)
	if err != nil {
		return answer{}, err
	}
	names := map[string]string{}
	for _, t := range templates {
		names[t.ID] = t.Name
	}
	p.Names, p.Holds = credentialNames(i, names), heldCredentials(i, names)
	if p.Open {
		if err := p.addOffer(c.cfg.Issuer.OfferURI(i)); err != nil {
			return answer{}, err
		}
	}
	if err := c.addMoments(ctx, r, &p); err != nil {
		return answer{}, err
	}
	a := answer{page: "issuance", title: "Issuance", section: "issuances", body: p}
	if problem != "" {
		a.status = http.StatusConflict
	}
	return a, nil
}

func heldCredentials(i tidings.Issuance, names map[string]string) (out []heldCredential) {
	for _, c := range i.Credentials {
		h := heldCredential{Credential: c, Name: cmp.Or(names[c.TemplateID], c.TemplateID)}
		for change, can := range map[tidings.StatusChange]*bool{tidings.Suspend: &h.CanSuspend, tidings.Resume: &h.CanResume, tidings.Revoke: &h.CanRevoke} {
			_, _, err := c.Change(change)
			*can = err == nil
		}
		out = append(out, h)
	}
	return out
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
		p.Moments = append(p.Moments, stepMoment(*p, s))
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

// stepMoment is the moment of a step. Of several credentials it names the one
// that was delivered.
func stepMoment(p issuancePage, s tidings.IssuanceStep) moment {
	m, known := stepWords[s.Detail]
	if !known {
		m = stepWords[s.Name]
	}
	for _, held := range p.Holds {
		if len(p.Holds) > 1 && held.ID == s.Detail {
			m.Words += ": " + held.Name
		}
	}
	m.At, m.Words = s.At, cmp.Or(m.Words, s.Name)
	return m
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
	case e.Type == tidings.CredentialWasRevoked:
		m.Who, m.Words = "issuer", "The credential was revoked"
	case e.Type == tidings.CredentialWasSuspended:
		m.Who, m.Words = "issuer", "The credential was suspended"
	case e.Type == tidings.CredentialWasResumed:
		m.Who, m.Words = "issuer", "The credential was resumed"
	default:
		m.Words = string(e.Type)
	}
	return m
}

package console

import (
	"context"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"tidings"
)

// deliveryList is a page of the deliveries that a filter shows.
type deliveryList struct {
	Filter     tidings.DeliveryFilter
	Filtered   bool
	Endpoints  []option
	Types      []option
	Statuses   []option
	Deliveries []tidings.Delivery
	Pager      pager
	None       bool // the organisation has no delivery at all
}

// deliveryFilter reads a filter from an address or a form.
func deliveryFilter(get func(string) string) tidings.DeliveryFilter {
	return tidings.DeliveryFilter{
		EndpointID: strings.TrimSpace(get("endpoint")), EventID: strings.TrimSpace(get("event")), EventType: tidings.EventType(get("type")),
		Status: tidings.DeliveryStatus(get("status")), IssuanceID: strings.TrimSpace(get("issuance")),
	}
}

// deliveries reads a page of what a filter shows. Text that no id can be finds
// nothing, and is not given to the store.
func (c *Console) deliveries(ctx context.Context, r *request, f tidings.DeliveryFilter, p tidings.Page) (l tidings.List[tidings.Delivery], err error) {
	for _, id := range []string{f.EndpointID, f.EventID, f.IssuanceID, string(f.EventType), string(f.Status)} {
		if id != "" && !plausible(id) {
			return l, nil
		}
	}
	return c.cfg.Deliveries.Deliveries(ctx, r.org(), f, p)
}

func (c *Console) listDeliveries(ctx context.Context, r *request) (answer, error) {
	p := deliveryList{Filter: deliveryFilter(r.query.Get)}
	p.Filtered = p.Filter != tidings.DeliveryFilter{}
	l, err := c.deliveries(ctx, r, p.Filter, pageOf(r))
	if err != nil {
		return answer{}, err
	}
	p.Deliveries, p.Pager = l.Items, pagerOf("/deliveries", r.query, l, func(d tidings.Delivery) string { return d.ID })
	p.None = len(l.Items) == 0 && !p.Filtered
	if p.Endpoints, err = c.endpointOptions(ctx, r, p.Filter.EndpointID); err != nil {
		return answer{}, err
	}
	p.Types = typeOptions(p.Filter.EventType)
	p.Statuses = []option{{"", "every status", false}}
	for _, s := range tidings.DeliveryStatuses {
		p.Statuses = append(p.Statuses, option{string(s), string(s), s == p.Filter.Status})
	}
	return answer{page: "deliveries", title: "Deliveries", section: "deliveries", body: p}, nil
}

// endpointOptions are the endpoints that a filter can choose; also one that was
// deleted, if it is the chosen one.
func (c *Console) endpointOptions(ctx context.Context, r *request, chosen string) ([]option, error) {
	out := []option{{"", "every endpoint", false}}
	found := chosen == ""
	err := c.eachEndpoint(ctx, r, func(e tidings.Endpoint) {
		found = found || e.ID == chosen
		out = append(out, option{e.ID, e.ID + " · " + hostOf(e.URL), e.ID == chosen})
	})
	if !found {
		out = append(out, option{chosen, chosen + " · deleted", true})
	}
	return out, err
}

func hostOf(url string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
	return host
}

func typeOptions(chosen tidings.EventType) []option {
	out := []option{{"", "every type", false}}
	for _, t := range tidings.EventTypes() {
		if !strings.Contains(string(t.Type), ".verification.") || t.Type == chosen {
			out = append(out, option{string(t.Type), string(t.Type), t.Type == chosen})
		}
	}
	return out
}

const (
	// maxResent is how many deliveries one press sends again, and maxLooked how
	// many it looks at, so that it ends in time.
	maxResent = 500
	maxLooked = 5000
	// resenders is how many are sent again at once: they share their commits.
	resenders = 8
)

// resendAll sends again what a filter shows and has not arrived: what failed,
// and at once what waits for a retry. What is on its way again already, or has
// arrived since, is left alone, so that a second press does no harm.
func (c *Console) resendAll(ctx context.Context, r *request) (answer, error) {
	f := deliveryFilter(r.form.Get)
	resent, skipped, more := 0, 0, false
	p := tidings.Page{Size: tidings.MaxPageSize}
	for looked := 0; !more; {
		l, err := c.deliveries(ctx, r, f, p)
		if err != nil {
			return answer{}, err
		}
		n, left, err := c.resendPage(ctx, r, l.Items)
		if err != nil {
			return answer{}, err
		}
		resent, skipped, looked = resent+n, skipped+left, looked+len(l.Items)
		if !l.HasNext {
			break
		}
		p.After = l.Items[len(l.Items)-1].ID
		more = resent >= maxResent || looked >= maxLooked
	}
	pairs := []string{"endpoint", f.EndpointID, "event", f.EventID, "type", string(f.EventType), "status", string(f.Status), "issuance", f.IssuanceID,
		"done", "resent", "n", strconv.Itoa(resent), "skipped", strconv.Itoa(skipped)}
	if more {
		pairs = append(pairs, "more", "1")
	}
	return answer{redirect: link("/deliveries", pairs...)}, nil
}

// resendPage sends again what of some deliveries has not arrived, several at a
// time.
func (c *Console) resendPage(ctx context.Context, r *request, page []tidings.Delivery) (resent, skipped int, err error) {
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		turns = make(chan struct{}, resenders)
	)
	for _, d := range page {
		if d.Status == tidings.DeliveryDelivered {
			continue
		}
		turns <- struct{}{}
		group.Go(func() {
			defer func() { <-turns }()
			sent, failure := c.resend(ctx, r, d)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case failure != nil:
				err = failure
			case sent:
				resent++
			default:
				skipped++
			}
		})
	}
	group.Wait()
	return resent, skipped, err
}

func (c *Console) resend(ctx context.Context, r *request, d tidings.Delivery) (sent bool, err error) {
	if d.Status != tidings.DeliveryPending {
		again, err := c.cfg.Deliveries.Deliveries(ctx, r.org(), tidings.DeliveryFilter{EventID: d.EventID, EndpointID: d.EndpointID}, tidings.Page{})
		if err != nil {
			return false, err
		}
		for _, other := range again.Items {
			newer := other.CreatedAt.After(d.CreatedAt) || other.ID > d.ID
			if other.ID != d.ID && (other.Status == tidings.DeliveryPending || other.Status == tidings.DeliveryDelivered || newer) {
				return false, nil
			}
		}
	}
	_, err = c.cfg.Repeats.RetryDelivery(ctx, r.org(), d.ID, r.origin())
	if kind := tidings.KindOf(err); err != nil && (kind == tidings.KindConflict || kind == tidings.KindNotFound) {
		return false, nil // its endpoint was deleted, or retention was faster
	}
	return err == nil, err
}

// deliveryPage is one delivery with every attempt.
type deliveryPage struct {
	tidings.Delivery
	Endpoint *tidings.Endpoint // nil: it was deleted
	Event    *tidings.Event    // nil: retention has dropped it
	Attempts []attemptView     // the newest first
	Reason   string
	Waiting  string // why it waits, while it does
	Live     bool   // it may change by itself soon
}

// attemptView is an attempt as it is shown.
type attemptView struct {
	tidings.Attempt
	Request string // as it was sent
	Status  string // the answer's first line
	Body    string
	Bar     template.HTML
	Parts   []part
	Advice  string
	Good    bool
	Changed bool // the endpoint was edited since: what was sent may have been another
}

// statusWords writes a status as the first line of an answer does.
func statusWords(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

func (c *Console) showDelivery(ctx context.Context, r *request) (answer, error) {
	id := r.path("id")
	if !plausible(id) {
		return answer{}, tidings.NotFound("delivery", "")
	}
	d, err := c.cfg.Deliveries.Delivery(ctx, r.org(), id)
	if err != nil {
		return answer{}, err
	}
	p := deliveryPage{Delivery: d}
	if e, err := c.cfg.Endpoints.Endpoint(ctx, r.org(), d.EndpointID); err == nil {
		p.Endpoint = &e
	} else if tidings.KindOf(err) != tidings.KindNotFound {
		return answer{}, err
	}
	if e, err := c.cfg.Events.Event(ctx, r.org(), d.EventID); err == nil {
		p.Event = &e
	} else if tidings.KindOf(err) != tidings.KindNotFound {
		return answer{}, err
	}
	for _, a := range d.Attempts {
		p.Attempts = append(p.Attempts, c.viewAttempt(p, a))
	}
	slices.Reverse(p.Attempts)
	if d.Status == tidings.DeliveryPending {
		p.Live, p.Waiting = true, waitingWords(p)
	} else if d.Status != tidings.DeliveryDelivered {
		p.Reason = reasonWords(d)
	}
	return answer{page: "delivery", title: "Delivery", section: "deliveries", body: p}, nil
}

// waitingWords says what a pending delivery waits for.
func waitingWords(p deliveryPage) string {
	switch {
	case p.Endpoint != nil && p.Endpoint.Status == tidings.EndpointDisabled:
		return "The endpoint is disabled: the delivery is kept, and sent once the endpoint is enabled."
	case p.AttemptCount == 0:
		return "It has not been tried yet: it is on its way, or waits behind others for the same endpoint."
	}
	return "Its last attempt failed. The next one comes by itself."
}

// viewAttempt shows an attempt. What was sent is put together from what is kept:
// the body is the same bytes on every attempt, the header values of the
// organisation's own and the signature are secrets and not kept.
func (c *Console) viewAttempt(p deliveryPage, a tidings.Attempt) attemptView {
	v := attemptView{Attempt: a, Good: a.ErrorCode == "", Advice: a.Advice(), Body: strings.ToValidUTF8(string(a.ResponseExcerpt), "�")}
	v.Bar, v.Parts = dividedBar(a)
	v.Status = "no answer"
	if a.StatusCode != 0 {
		v.Status = statusWords(a.StatusCode)
	}
	if e := p.Endpoint; e != nil && e.UpdatedAt.After(a.StartedAt) {
		v.Changed = e.DisabledAt == nil || !e.UpdatedAt.Equal(*e.DisabledAt) // the attempt itself may have disabled it
	}
	if p.Event == nil {
		return v
	}
	var b strings.Builder
	host, path := "", "/"
	if p.Endpoint != nil {
		host = hostOf(p.Endpoint.URL)
		if _, rest, ok := strings.Cut(strings.TrimPrefix(p.Endpoint.URL, "https://"), "/"); ok {
			path += rest
		}
	}
	b.WriteString("POST " + path + " HTTP/1.1\n")
	if host != "" {
		b.WriteString("host: " + host + "\n")
	}
	b.WriteString("content-type: application/json\nuser-agent: Tidings/" + c.cfg.Version +
		"\nwebhook-id: " + p.EventID + "\nwebhook-timestamp: " + strconv.FormatInt(a.StartedAt.Unix(), 10) +
		"\nwebhook-signature: v1,… (not kept)\nwebhook-attempt: " + strconv.Itoa(a.Number) + "\n")
	if p.Event.Test {
		b.WriteString("webhook-test: true\n")
	}
	if p.Endpoint != nil {
		for _, name := range slices.Sorted(maps.Keys(p.Endpoint.Headers)) {
			b.WriteString(strings.ToLower(name) + ": " + tidings.HiddenValue + "\n")
		}
	}
	b.WriteString("\n" + string(p.Event.Body()))
	v.Request = b.String()
	return v
}

func (c *Console) retryDelivery(ctx context.Context, r *request) (answer, error) {
	id := r.path("id")
	if !plausible(id) {
		return answer{}, tidings.NotFound("delivery", "")
	}
	d, err := c.cfg.Repeats.RetryDelivery(ctx, r.org(), id, r.origin())
	return answer{redirect: link("/deliveries/"+d.ID, "done", "retried")}, err
}

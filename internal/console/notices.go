package console

import (
	"context"
	"time"

	"tidings"
)

// notice tells an organisation of an endpoint that needs somebody: that it
// fails, when it will be disabled, that it was, and what to do.
type notice struct {
	Endpoint   tidings.Endpoint
	Bad        bool // nothing is sent any more
	Headline   string
	DisablesAt *time.Time // while it fails
	Advice     string
}

const (
	maxNotices  = 1000 // endpoints that every page looks through
	mostNotices = 4    // that it shows
)

// notices looks through the organisation's endpoints.
func (c *Console) notices(ctx context.Context, r *request) (out []notice, err error) {
	err = c.eachEndpoint(ctx, r, func(e tidings.Endpoint) {
		if n, ok := c.noticeOf(e); ok {
			out = append(out, n)
		}
	})
	return out, err
}

// eachEndpoint gives the organisation's endpoints, up to maxNotices of them.
func (c *Console) eachEndpoint(ctx context.Context, r *request, do func(tidings.Endpoint)) error {
	p := tidings.Page{Size: tidings.MaxPageSize}
	for seen := 0; seen < maxNotices; {
		l, err := c.cfg.Endpoints.Endpoints(ctx, r.org(), p)
		if err != nil {
			return err
		}
		for _, e := range l.Items {
			do(e)
		}
		if seen += len(l.Items); !l.HasNext {
			return nil
		}
		p.After = l.Items[len(l.Items)-1].ID
	}
	return nil
}

// noticeOf says what is wrong with an endpoint, if something is.
func (c *Console) noticeOf(e tidings.Endpoint) (n notice, ok bool) {
	n.Endpoint = e
	switch {
	case e.Status == tidings.EndpointDisabled && e.DisabledReason == tidings.DisabledFailing:
		n.Bad = true
		n.Headline = "was disabled: every attempt failed for " + duration(c.cfg.DisableAfter) + "."
		n.Advice = "Its deliveries are kept. Mend the receiver, then enable the endpoint: what has waited is sent in order, and what failed can be sent again with it."
	case e.Status == tidings.EndpointDisabled && e.DisabledReason == tidings.DisabledGone:
		n.Bad = true
		n.Headline = "was disabled: the receiver answered 410 Gone, which says that nobody wants webhooks there any more."
		n.Advice = "If that was a mistake, mend the receiver and enable the endpoint. If it has moved, change the URL first. If it is not needed any more, delete the endpoint."
	case e.Status == tidings.EndpointEnabled && e.FirstFailureAt != nil:
		n.Headline = "is failing: no attempt succeeds any more."
		n.Advice = "Look at its newest attempt to see why. Deliveries are tried again by themselves; none is lost within the retry schedule."
		if c.cfg.DisableAfter > 0 {
			at := e.FirstFailureAt.Add(c.cfg.DisableAfter)
			n.DisablesAt = &at
		}
	default:
		return n, false
	}
	return n, true
}

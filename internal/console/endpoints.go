package console

import (
	"context"
	"html/template"
	"slices"
	"time"

	"tidings"
)

// endpointList is a page of the endpoints.
type endpointList struct {
	Endpoints []tidings.Endpoint
	Pager     pager
}

func (c *Console) listEndpoints(ctx context.Context, r *request) (answer, error) {
	l, err := c.cfg.Endpoints.Endpoints(ctx, r.org(), pageOf(r))
	return answer{page: "endpoints", title: "Endpoints", section: "endpoints", body: endpointList{
		Endpoints: l.Items, Pager: pagerOf("/endpoints", r.query, l, func(e tidings.Endpoint) string { return e.ID }),
	}}, err
}

// endpointPage is one endpoint with all that can be done to it.
type endpointPage struct {
	tidings.Endpoint
	Notice    *notice
	Trouble   *trouble      // why it fails
	Toward    template.HTML // how far the time to its disabling has passed
	Headers   []string      // the names; values are never shown
	Schedule  []string
	Types     []string // what it receives, in words
	Plot      plot
	Recent    []tidings.Delivery
	Tests     []option // event types for a sample
	Since     []option // times to recover from
	Graces    []option
	SinceTime string // a time to begin with, for the form
	Problem   string
}

func (c *Console) showEndpoint(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	return c.endpointAnswer(ctx, r, e, "", "")
}

// endpoint finds the endpoint of the path.
func (c *Console) endpoint(ctx context.Context, r *request) (tidings.Endpoint, error) {
	id := r.path("id")
	if !plausible(id) {
		return tidings.Endpoint{}, tidings.NotFound("endpoint", "")
	}
	return c.cfg.Endpoints.Endpoint(ctx, r.org(), id)
}

// endpointAnswer is the endpoint's page, with what went wrong with its recovery
// form, if something did.
func (c *Console) endpointAnswer(ctx context.Context, r *request, e tidings.Endpoint, since, problem string) (answer, error) {
	p := endpointPage{Endpoint: e, Types: typeWords(e.FilterTypes), Tests: testOptions(), Problem: problem,
		Graces:    options("24h", "24h", "for 24 hours", "1h", "for an hour", "168h", "for 7 days", "0s", "not at all: it ends now"),
		SinceTime: c.cfg.Now().Add(-time.Hour).UTC().Format(formTime)}
	if n, ok := c.noticeOf(e); ok {
		p.Notice = &n
		if n.DisablesAt != nil {
			p.Toward = share(float64(c.cfg.Now().Sub(*e.FirstFailureAt))/float64(c.cfg.DisableAfter), "bad")
		}
	}
	for name := range e.Headers {
		p.Headers = append(p.Headers, name)
	}
	slices.Sort(p.Headers)
	for _, d := range e.RetrySchedule {
		p.Schedule = append(p.Schedule, duration(d))
	}
	p.Since = sinceOptions(e, since)
	tallies, err := c.tallies(ctx, r, e.ID, "day")
	if err != nil {
		return answer{}, err
	}
	p.Plot = barPlot("The last 24 hours", tallies, ranges["day"].step)
	l, err := c.cfg.Deliveries.Deliveries(ctx, r.org(), tidings.DeliveryFilter{EndpointID: e.ID}, tidings.Page{Size: 8})
	if err != nil {
		return answer{}, err
	}
	p.Recent = l.Items
	if p.Notice != nil {
		if p.Trouble, err = c.trouble(ctx, r, l.Items); err != nil {
			return answer{}, err
		}
	}
	a := answer{page: "endpoint", title: e.ID, section: "endpoints", body: p}
	if problem != "" {
		a.status = statuses[tidings.KindInvalid]
	}
	return a, nil
}

// trouble is the newest attempt that failed, with what to do about it.
type trouble struct {
	tidings.Attempt
	Status     string // the answer's; empty where none came
	Advice     string
	DeliveryID string
}

// trouble looks through an endpoint's newest deliveries for the attempt that
// failed last; nil: there is none among them.
func (c *Console) trouble(ctx context.Context, r *request, recent []tidings.Delivery) (out *trouble, err error) {
	for _, d := range recent {
		if d.AttemptCount == 0 || d.Status == tidings.DeliveryDelivered {
			continue
		}
		whole, err := c.cfg.Deliveries.Delivery(ctx, r.org(), d.ID)
		if err != nil && tidings.KindOf(err) != tidings.KindNotFound {
			return nil, err
		}
		for _, a := range whole.Attempts {
			if a.ErrorCode != "" && (out == nil || a.StartedAt.After(out.StartedAt)) {
				out = &trouble{Attempt: a, Advice: a.Advice(), DeliveryID: d.ID}
				if a.StatusCode != 0 {
					out.Status = statusWords(a.StatusCode)
				}
			}
		}
	}
	return out, nil
}

// sinceOptions are the times from which an endpoint can be recovered.
func sinceOptions(e tidings.Endpoint, chosen string) []option {
	pairs := []string{}
	if e.DisabledAt != nil {
		pairs = append(pairs, "disabledAt", "it was disabled, "+exact(*e.DisabledAt))
	}
	if e.FirstFailureAt != nil {
		pairs = append(pairs, "firstFailureAt", "it began to fail, "+exact(*e.FirstFailureAt))
	}
	pairs = append(pairs, "1h", "an hour ago", "24h", "24 hours ago", "168h", "7 days ago", "time", "the time below")
	return options(chosen, pairs...)
}

// typeWords says what an endpoint receives.
func typeWords(filter []tidings.EventType) (out []string) {
	for _, t := range filter {
		out = append(out, string(t))
	}
	return out
}

func testOptions() []option {
	var pairs []string
	for _, t := range tidings.SampleEventTypes {
		pairs = append(pairs, string(t), string(t))
	}
	return options(string(tidings.IssuanceCompleted), pairs...)
}

// secretPage shows what an endpoint's webhooks are signed with.
type secretPage struct {
	Endpoint tidings.Endpoint
	Secret   string
	Previous []tidings.SigningSecret
}

func (c *Console) showSecret(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	secrets, err := c.cfg.Secrets.EndpointSecrets(ctx, r.org(), e.ID, r.origin())
	return secretAnswer(e, secrets), err
}

func secretAnswer(e tidings.Endpoint, secrets []tidings.SigningSecret) answer {
	p := secretPage{Endpoint: e}
	if len(secrets) > 0 {
		p.Secret, p.Previous = secrets[0].Secret, secrets[1:]
	}
	return answer{page: "secret", title: "Signing secret of " + e.ID, section: "endpoints", body: p}
}

func (c *Console) rotateSecret(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	grace, err := time.ParseDuration(r.form.Get("grace"))
	if err != nil || grace < 0 || grace > 7*24*time.Hour {
		return answer{}, tidings.Invalid("/grace", "The secret before signs along for at most 7 days.")
	}
	secrets, err := c.cfg.Secrets.RotateSecret(ctx, r.org(), e.ID, grace, r.origin())
	return secretAnswer(e, secrets), err
}

func (c *Console) testEndpoint(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	typ := tidings.EventType(r.form.Get("type"))
	d, err := c.cfg.Repeats.TestEndpoint(ctx, r.org(), e.ID, typ, r.origin())
	return answer{redirect: link("/deliveries/"+d.ID, "done", "tested")}, err
}

// switchEndpoint pauses or enables. With enabling goes, if it is asked for, a
// recovery; it begins first, so that an endpoint that cannot be recovered from
// that time stays as it is, and what is sent keeps its order.
func (c *Console) switchEndpoint(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	status := tidings.EndpointStatus(r.form.Get("status"))
	if status == tidings.EndpointDisabled {
		_, err := c.cfg.Endpoints.UpdateEndpoint(ctx, r.org(), e.ID, tidings.EndpointPatch{Status: &status, Origin: r.origin()})
		return answer{redirect: link("/endpoints/"+e.ID, "done", "paused")}, err
	}
	to := link("/endpoints/"+e.ID, "done", "enabled")
	if since := r.form.Get("since"); since != "" {
		at, err := c.since(e, since, r.form.Get("time"))
		if err != nil {
			return c.endpointAnswer(ctx, r, e, since, sentence(err))
		}
		recovery, err := c.cfg.Repeats.Recover(ctx, r.org(), e.ID, tidings.NewRecovery{Since: at, Origin: r.origin()})
		if tidings.KindOf(err) == tidings.KindInvalid && err != nil {
			return c.endpointAnswer(ctx, r, e, since, sentence(err))
		}
		if err != nil {
			return answer{}, err
		}
		to = link("/endpoints/"+e.ID+"/recoveries/"+recovery.ID, "done", "enabled")
	}
	_, err = c.cfg.Endpoints.UpdateEndpoint(ctx, r.org(), e.ID, tidings.EndpointPatch{Status: &status, Origin: r.origin()})
	return answer{redirect: to}, err
}

// formTime is how a form writes a time.
const formTime = "2006-01-02T15:04"

// since reads the time of a recovery: a length before now, a time of the
// endpoint's, or a time that was typed.
func (c *Console) since(e tidings.Endpoint, choice, typed string) (time.Time, error) {
	named := map[string]*time.Time{"disabledAt": e.DisabledAt, "firstFailureAt": e.FirstFailureAt}[choice]
	if named != nil {
		return *named, nil
	}
	if choice == "time" {
		for _, layout := range []string{formTime, "2006-01-02T15:04:05"} {
			if at, err := time.Parse(layout, typed); err == nil && at.Year() > 2000 && at.Year() < 9000 {
				return at, nil
			}
		}
		return time.Time{}, tidings.Invalid("/since", "Choose the day and the time from which on to send again.")
	}
	ago, err := time.ParseDuration(choice)
	if err != nil || ago <= 0 || ago > 10_000*time.Hour {
		return time.Time{}, tidings.Invalid("/since", "Choose from when on to send again.")
	}
	return c.cfg.Now().Add(-ago), nil
}

func (c *Console) recoverEndpoint(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	choice := r.form.Get("since")
	since, err := c.since(e, choice, r.form.Get("time"))
	if err != nil {
		return c.endpointAnswer(ctx, r, e, choice, sentence(err))
	}
	recovery, err := c.cfg.Repeats.Recover(ctx, r.org(), e.ID, tidings.NewRecovery{Since: since, Origin: r.origin()})
	if tidings.KindOf(err) == tidings.KindInvalid && err != nil {
		return c.endpointAnswer(ctx, r, e, choice, sentence(err))
	}
	return answer{redirect: link("/endpoints/"+e.ID+"/recoveries/"+recovery.ID, "done", "recovered")}, err
}

// recoveryPage shows how far a recovery has come.
type recoveryPage struct {
	Endpoint tidings.Endpoint
	tidings.Recovery
	Running bool
	Percent int
}

func (c *Console) showRecovery(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	recovery, err := c.cfg.Repeats.Recovery(ctx, r.org(), e.ID, r.path("sub"))
	return answer{page: "recovery", title: "Recovery of " + e.ID, section: "endpoints", body: recoveryPage{
		Endpoint: e, Recovery: recovery, Running: recovery.Status == tidings.RecoveryRunning, Percent: int(recovery.Progress * 100),
	}}, err
}

func (c *Console) deleteEndpoint(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	return answer{redirect: link("/endpoints", "done", "deleted")}, c.cfg.Endpoints.DeleteEndpoint(ctx, r.org(), e.ID, r.origin())
}

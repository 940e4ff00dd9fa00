package console

import (
	"context"
	"html/template"
	"slices"
	"time"

	"tidings"
)

// overview shows how an organisation's webhooks are doing.
type overview struct {
	Range     string
	Delivered string
	Rate      string // of success; empty where nothing was tried
	Latency   string // half within; empty where nothing arrived
	Late      string // 95 % within
	Backlog   int
	OldestAt  *time.Time
	Endpoints int
	Failing   int
	Plots     []plot
	Waiting   []waiting
	Recent    []tidings.Delivery // those that failed last
	First     bool               // the organisation has no endpoint yet
}

// waiting is an endpoint with a backlog.
type waiting struct {
	Endpoint tidings.Endpoint
	Bar      template.HTML
}

// ranges are the stretches of time that plots show.
var ranges = map[string]struct{ length, step time.Duration }{
	"hour": {time.Hour, time.Minute},
	"day":  {24 * time.Hour, 15 * time.Minute},
}

func (c *Console) showOverview(ctx context.Context, r *request) (answer, error) {
	o := overview{Range: "hour"}
	if r.query.Get("range") == "day" {
		o.Range = "day"
	}
	span := ranges[o.Range]
	tallies, err := c.tallies(ctx, r, "", o.Range)
	if err != nil {
		return answer{}, err
	}
	var all tidings.Tally
	for _, t := range tallies {
		all.Add(t)
	}
	o.Delivered = count(all.Delivered)
	if rate, ok := all.SuccessRate(); ok {
		o.Rate = percent(rate)
	}
	if half, ok := all.Latency.Percentile(0.5); ok {
		late, _ := all.Latency.Percentile(0.95)
		o.Latency, o.Late = duration(half), duration(late)
	}
	perMinute := "Deliveries per minute"
	if o.Range == "day" {
		perMinute = "Deliveries per quarter of an hour"
	}
	o.Plots = []plot{barPlot(perMinute, tallies, span.step), ratePlot("Success rate", tallies, span.step), latencyPlot("Latency, from event to 2xx", tallies, span.step)}
	if err := c.addEndpoints(ctx, r, &o); err != nil {
		return answer{}, err
	}
	failed, err := c.cfg.Deliveries.Deliveries(ctx, r.org(), tidings.DeliveryFilter{Status: tidings.DeliveryFailed}, tidings.Page{Size: 5})
	o.Recent = failed.Items
	return answer{page: "overview", title: "Overview", section: "overview", body: o}, err
}

// tallies gives what was counted in a range.
func (c *Console) tallies(ctx context.Context, r *request, endpoint, name string) ([]tidings.Tally, error) {
	span := ranges[name]
	return c.cfg.Deliveries.Tallies(ctx, r.org(), endpoint, c.cfg.Now().Add(-span.length+span.step), span.step)
}

// mostWaiting is how many endpoints the overview lists by their backlog.
const mostWaiting = 8

func (c *Console) addEndpoints(ctx context.Context, r *request, o *overview) error {
	var busy []tidings.Endpoint
	err := c.eachEndpoint(ctx, r, func(e tidings.Endpoint) {
		o.Endpoints++
		if _, bad := c.noticeOf(e); bad {
			o.Failing++
		}
		if e.Backlog.Count == 0 {
			return
		}
		busy = append(busy, e)
		o.Backlog += e.Backlog.Count
		if at := e.Backlog.OldestAt; at != nil && (o.OldestAt == nil || at.Before(*o.OldestAt)) {
			o.OldestAt = at
		}
	})
	o.First = o.Endpoints == 0
	slices.SortFunc(busy, func(a, b tidings.Endpoint) int { return b.Backlog.Count - a.Backlog.Count })
	for _, e := range busy[:min(len(busy), mostWaiting)] {
		o.Waiting = append(o.Waiting, waiting{e, share(float64(e.Backlog.Count)/float64(busy[0].Backlog.Count), "one")})
	}
	return err
}

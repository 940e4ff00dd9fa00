package app

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tidings/internal/delivery"
)

// serve makes the page /metrics, with what is looked up at each scrape.
func (m *metrics) serve(a *App) http.Handler {
	m.registry.MustRegister(&gauges{app: a})
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// gauges are looked up at each scrape.
type gauges struct{ app *App }

// scrapeLimit bounds the look into the store at a scrape.
const scrapeLimit = 5 * time.Second

// gauge describes a value that is looked up.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	buildInfo    = gauge("tidings_build_info", "1, with the version of the product.", "version")
	readyGauge   = gauge("tidings_ready", "1 while requests can be served, as /readyz tells; else 0.")
	backlogGauge = gauge("tidings_backlog_deliveries", "Deliveries that are pending, or of accepted events not made yet.")
	ageGauge     = gauge("tidings_backlog_age_seconds", "Age of the oldest delivery that is pending; 0: there is none.")
	overdueGauge = gauge("tidings_backlog_overdue_seconds", "For how long the delivery has been due that waits longest for its turn, of endpoints without trouble, pause or rate limit; 0: there is none.")
	lanesGauge   = gauge("tidings_lanes", "Lanes in memory by state, as of some seconds ago.", "state")
	flightGauge  = gauge("tidings_attempts_in_flight", "Attempts in flight, as of some seconds ago.")
	openGauge    = gauge("tidings_egress_open_connections", "Connections to receivers that are open.")
	idleGauge    = gauge("tidings_egress_idle_connections", "Those of them that wait to be used again; not known of those by a proxy.")
	madeCounter  = gauge("tidings_egress_connections_total", "Connections to receivers that were made.")
	nodesGauge   = gauge("tidings_nodes", "Servers that share the store, as this one knows since its last renewal; 1 with the embedded database.")
	shardsGauge  = gauge("tidings_shards", "Shards that this server delivers for, of 1024; the sum over all servers is less while some wait for a new holder.")
	sizeGauge    = gauge("tidings_store_bytes", "Size of the database.")
	freeGauge    = gauge("tidings_store_free_bytes", "What is free on the disk of the embedded database.")
)

// Describe names the gauges.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildInfo, readyGauge, backlogGauge, ageGauge, overdueGauge, lanesGauge, flightGauge, nodesGauge, shardsGauge, openGauge, idleGauge, madeCounter, sizeGauge, freeGauge} {
		out <- d
	}
}

// Collect looks them up. What cannot be looked up is left out, so that the rest
// of the page is still there when the store is in trouble.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	give := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	give(buildInfo, 1, g.app.cfg.Version)
	g.ofStore(ctx, give)
	stats := g.app.engine.Stats()
	for _, s := range delivery.LaneStates {
		give(lanesGauge, float64(stats.Lanes[s]), string(s))
	}
	give(flightGauge, float64(stats.InFlight))
	nodes, shards := g.app.Store.Nodes()
	give(nodesGauge, float64(nodes))
	give(shardsGauge, float64(shards))
	open, idle, made := g.app.egress.Connections()
	give(openGauge, float64(open))
	give(idleGauge, float64(idle))
	out <- prometheus.MustNewConstMetric(madeCounter, prometheus.CounterValue, float64(made))
}

func (g *gauges) ofStore(ctx context.Context, give func(*prometheus.Desc, float64, ...string)) {
	ready := 1.0
	if err := g.app.ready(ctx); err != nil {
		ready = 0
	}
	give(readyGauge, ready)
	since := func(t *time.Time) float64 {
		if t == nil {
			return 0
		}
		return max(0, g.app.cfg.Now().Sub(*t).Seconds())
	}
	if backlog, err := g.app.Store.Backlog(ctx); err != nil {
		g.app.cfg.Log.Warn("looking up the backlog for /metrics", "error", err)
	} else {
		give(backlogGauge, float64(backlog.Count))
		give(ageGauge, since(backlog.OldestAt))
		give(overdueGauge, since(backlog.DueAt))
	}
	size, err := g.app.Store.Size(ctx)
	if err != nil {
		g.app.cfg.Log.Warn("measuring the store for /metrics", "error", err)
		return
	}
	give(sizeGauge, float64(size.Bytes))
	if size.Free >= 0 {
		give(freeGauge, float64(size.Free))
	}
}

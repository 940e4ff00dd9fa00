package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tidings"
	"tidings/client"
)

const (
	mebibytesIdle    = 64
	mebibytesPending = 128
	mostConns        = 500 // with a backlog
	// settle is how long memory is watched until it counts.
	settle = 3 * time.Second
)

// idle measures the memory of a server that has many endpoints and nothing to
// do, after a restart.
func idle(ctx context.Context, b *run) (err error) {
	const tenants = 10
	in, err := b.install(ctx, tenants, b.cfg.Sizes.Idle/tenants, func(t, e int) string { return fmt.Sprint(pathIdle, t, "-", e) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if err := errors.Join(in.stop(), in.start(ctx)); err != nil {
		return err
	}
	most := 0.0
	for until := time.Now().Add(settle); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if err := in.readyz(ctx); err != nil {
			return err
		}
		most = max(most, rssOf(in.cmd.Process.Pid))
	}
	b.add(Row{Scenario: "idle", RSSMiB: most, Target: fmt.Sprintf("at most %d MiB with %d endpoints", mebibytesIdle, b.cfg.Sizes.Idle), Met: most <= mebibytesIdle})
	return nil
}

func (s *server) readyz(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return err
	}
	if answer.Body.Close(); answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %d", answer.StatusCode)
	}
	return nil
}

// backlog piles up deliveries, starts the server anew, and tells how long until
// the first delivery, how much memory, and how fast it all goes out.
func backlog(ctx context.Context, b *run) (err error) {
	in, err := b.install(ctx, 1, b.cfg.Sizes.Endpoints, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	fresh, err := in.publishFor(ctx, b.cfg.Sizes.Window, 1)
	if err != nil {
		return err
	}
	d, err := in.drain(ctx, b.cfg.Sizes.Pending)
	if err != nil {
		return err
	}
	b.add(Row{Scenario: "backlog-start", P50Ms: d.startMs, Target: fmt.Sprintf("at most 1 s until the first delivery, with %d pending", d.pending), Met: d.startMs <= 1000})
	b.add(Row{Scenario: "backlog-memory", RSSMiB: d.rss, Target: fmt.Sprintf("at most %d MiB over %d connections; %d were open", mebibytesPending, mostConns, d.conns), Met: d.rss <= mebibytesPending && d.conns <= mostConns})
	row := Row{Scenario: "backlog-drain", DeliveriesPerSecond: d.perSecond, CPUMicrosPerEvent: d.cpu, RSSMiB: d.rss, Ratio: d.perSecond / fresh.perSecond,
		Target: fmt.Sprintf("not slower than fresh traffic, %.0f a second", fresh.perSecond)}
	row.Met = row.Ratio >= 1
	b.add(row)
	return in.onRecord(ctx, 1000)
}

// drained is what came of draining a backlog.
type drained struct {
	traffic
	pending int     // when the server started
	startMs float64 // from the start of the process to the first delivery
	conns   int64   // open at the same time
}

// drain piles up deliveries at disabled endpoints, enables these, starts the
// server anew, and waits until all have arrived.
func (in *installation) drain(ctx context.Context, pending int) (d drained, err error) {
	sink := in.b.sink
	before := sink.arrived.Load()
	published, err := in.pile(ctx, pending)
	if err != nil {
		return d, err
	}
	if err := in.stop(); err != nil {
		return d, err
	}
	arrived := sink.arrived.Load()
	d.pending = published - int(arrived-before) // some went out before the stop
	if d.pending <= 0 {
		return d, errors.New("the whole backlog went out before the stop: make it larger")
	}
	sink.first.Store(0)
	cpu, begin := in.cpu(), time.Now()
	if err := in.launch(); err != nil {
		return d, err
	}
	for sink.arrived.Load()-arrived < int64(d.pending) {
		d.rss, d.conns = max(d.rss, rssOf(in.cmd.Process.Pid)), max(d.conns, sink.conns.Load())
		select {
		case err := <-in.ended:
			return d, fmt.Errorf("the server ended: %w", err)
		case <-ctx.Done():
			return d, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	first := time.Unix(0, sink.first.Load())
	d.perSecond = float64(d.pending) / time.Since(first).Seconds()
	d.cpu = float64((in.cpu() - cpu).Microseconds()) / float64(d.pending)
	d.startMs = float64(first.Sub(begin).Microseconds()) / 1000
	if err := in.await(ctx); err != nil {
		return d, err
	}
	in.tenants[0], err = in.first(ctx)
	return d, err
}

// pile disables the endpoints, publishes until so many deliveries are pending
// and some more, and enables the endpoints again. It gives how many deliveries
// were published.
func (in *installation) pile(ctx context.Context, want int) (published int, err error) {
	endpoints, err := in.all(ctx)
	if err != nil {
		return 0, err
	}
	if err := in.switchTo(ctx, endpoints, tidings.EndpointDisabled); err != nil {
		return 0, err
	}
	p, err := in.b.newPublisher(in.url)
	if err != nil {
		return 0, err
	}
	defer p.close()
	const batch = 10
	events := (want + want/20) / len(endpoints) // some go out while the endpoints are enabled
	for n := 0; n < events; n += batch {
		if err := p.publish(in.tenants[0].token, "pile", n, min(n+batch, events)); err != nil {
			return 0, err
		}
	}
	published = events * len(endpoints)
	if err := in.awaitBacklog(ctx, published); err != nil {
		return 0, err
	}
	return published, in.switchTo(ctx, endpoints, tidings.EndpointEnabled)
}

// awaitBacklog waits until so many deliveries are pending: those of large fan-outs
// are made behind the answer, and it is not their making that is to be measured.
func (in *installation) awaitBacklog(ctx context.Context, want int) error {
	for {
		pending, err := in.pending(ctx, in.tenants[0])
		if err != nil || pending >= want {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (in *installation) all(ctx context.Context) (ids []string, err error) {
	for e, err := range in.tenants[0].Endpoints(ctx, client.EndpointQuery{}) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, e.ID)
	}
	return ids, nil
}

func (in *installation) switchTo(ctx context.Context, endpoints []string, status tidings.EndpointStatus) error {
	return parallel(len(endpoints), 32, func(i int) error {
		_, err := in.tenants[0].UpdateEndpoint(ctx, endpoints[i], client.EndpointPatch{Status: &status})
		return err
	})
}

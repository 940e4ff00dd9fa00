package bench

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"tidings/client"
)

const (
	// maxInFlight is that of endpoints where there are few: what each may take at
	// once shall not bound what is measured. Where there are many it is the default.
	maxInFlight = 64
	few         = 100
	// maxOutstanding is how many deliveries may have been published and not
	// have arrived before the publisher waits: more would be a backlog, which
	// has a scenario of its own.
	maxOutstanding = 10_000
	// warmUp is the part of the window that is not counted.
	warmUp = 8
	// apiSample is of how many organisations the record of attempts is counted.
	apiSample = 5
)

// installation is a server with organisations, each with endpoints at the sink.
type installation struct {
	*server
	tenants   []*tenant
	endpoints int // of each tenant
}

// install starts a server and makes organisations and endpoints, all of them
// at paths below prefix.
func (b *run) install(ctx context.Context, tenants, endpoints int, path func(tenant, endpoint int) string) (*installation, error) {
	s, err := b.newServer(ctx)
	if err != nil {
		return nil, err
	}
	in := &installation{server: s, tenants: make([]*tenant, tenants), endpoints: endpoints}
	err = parallel(tenants, 4, func(i int) (err error) {
		if i == 0 {
			in.tenants[i], err = s.first(ctx)
		} else {
			in.tenants[i], err = s.organisation(ctx, fmt.Sprint("bench-", i))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return in, parallel(tenants*endpoints, 16, func(i int) error {
		return in.register(ctx, in.tenants[i/endpoints], path(i/endpoints, i%endpoints))
	})
}

func takes(tenant, endpoint int) string { return fmt.Sprintf("%s%d-%d", pathTake, tenant, endpoint) }

// register registers an endpoint at a path of the sink, which will verify what
// it takes there.
func (in *installation) register(ctx context.Context, t *tenant, path string) error {
	endpoint := client.NewEndpoint{URL: in.b.sink.url + path}
	if len(in.tenants)*in.endpoints <= few {
		endpoint.MaxInFlight = maxInFlight
	}
	e, err := t.CreateEndpoint(ctx, endpoint)
	if err != nil || !strings.HasPrefix(path, pathTake) {
		return err
	}
	secret, err := t.EndpointSecret(ctx, e.ID)
	if err != nil {
		return err
	}
	return in.b.sink.trust(path, secret.Secret)
}

// parallel does n things, some at the same time, and gives the first error.
func parallel(n, workers int, do func(i int) error) error {
	var next atomic.Int64
	errs := make(chan error, workers)
	for range workers {
		go func() {
			var err error
			for i := int(next.Add(1)) - 1; i < n && err == nil; i = int(next.Add(1)) - 1 {
				err = do(i)
			}
			errs <- err
		}()
	}
	var first error
	for range workers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// traffic is what came of publishing for a while.
type traffic struct {
	perSecond float64
	cpu       float64 // microseconds per delivery
	rss       float64
}

// publishFor publishes for the window, in batches, tenant after tenant, waits
// until everything has arrived, and gives the rate of the deliveries.
func (in *installation) publishFor(ctx context.Context, window time.Duration, batch int) (out traffic, err error) {
	if _, err := in.flood(ctx, window/warmUp, batch); err != nil {
		return out, err
	}
	cpu, begin := in.cpu(), time.Now()
	arrived, err := in.flood(ctx, window, batch)
	if err != nil {
		return out, err
	}
	took := time.Since(begin)
	out.perSecond = float64(arrived) / took.Seconds()
	out.rss = rssOf(in.cmd.Process.Pid)
	// The last results are recorded after their arrival: they belong to it.
	if err := in.recorded(ctx); err != nil {
		return out, err
	}
	out.cpu = float64((in.cpu() - cpu).Microseconds()) / float64(arrived)
	return out, nil
}

// flood publishes over as many connections as the bare loop has, and gives how
// many deliveries have arrived.
func (in *installation) flood(ctx context.Context, window time.Duration, batch int) (int64, error) {
	sink := in.b.sink
	before := sink.arrived.Load()
	var next, published atomic.Int64
	begin := time.Now()
	err := parallel(senders, senders, func(i int) error {
		var p *publisher
		for once := false; !once || time.Since(begin) < window; { // once at least, however slow the machine
			if before+published.Load()-sink.arrived.Load() > maxOutstanding {
				time.Sleep(time.Millisecond)
				continue
			}
			if p == nil { // not sooner: a server closes connections over which nothing comes
				var err error
				if p, err = in.b.newPublisher(in.address(i)); err != nil {
					return err
				}
				defer p.close()
			}
			n := int(next.Add(int64(batch)))
			t := in.tenants[(n/batch-1)%len(in.tenants)]
			if err := p.publish(t.token, "bench", n-batch, n); err != nil {
				return err
			}
			published.Add(int64(batch * in.endpoints))
			once = true
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return published.Load(), sink.wait(ctx, before+published.Load())
}

// address is that of one of the nodes, in turns.
func (in *installation) address(i int) string {
	if i %= 1 + len(in.peers); i > 0 {
		return in.peers[i-1].url
	}
	return in.url
}

// recorded waits until no delivery is pending.
func (in *installation) recorded(ctx context.Context) error {
	for _, t := range in.tenants {
		for {
			pending, err := in.pending(ctx, t)
			if err != nil {
				return err
			}
			if pending == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// pending counts the deliveries that wait at an organisation's endpoints.
func (in *installation) pending(ctx context.Context, t *tenant) (n int, err error) {
	for e, err := range t.Endpoints(ctx, client.EndpointQuery{}) {
		if err != nil {
			return 0, err
		}
		n += e.Backlog.Count
	}
	return n, nil
}

// onRecord counts, in the API, the attempts of some organisations' deliveries:
// there must be one for each, and not one signature that did not verify.
func (in *installation) onRecord(ctx context.Context, most int) error {
	if n := in.b.sink.forged.Load(); n > 0 {
		return fmt.Errorf("%d signatures did not verify", n)
	}
	if err := in.recorded(ctx); err != nil {
		return err
	}
	for _, t := range in.tenants[:min(apiSample, len(in.tenants))] {
		n := 0
		for d, err := range t.Deliveries(ctx, client.DeliveryQuery{}) {
			if err != nil {
				return err
			}
			if d.Status != "delivered" || d.AttemptCount < 1 {
				return fmt.Errorf("delivery %s is %s with %d attempts on record", d.ID, d.Status, d.AttemptCount)
			}
			if n++; n == most {
				break
			}
		}
		if n == 0 {
			return fmt.Errorf("there is no delivery on record")
		}
	}
	return nil
}

// rates measures so many organisations with one endpoint each.
func rates(tenants, batch int) func(context.Context, *run) error {
	return func(ctx context.Context, b *run) error {
		name, target := "single-", b.target(0.4, 0.2)
		if batch > 1 {
			name, target = "batch-", b.target(0.6, 0.35)
		}
		return b.rate(ctx, fmt.Sprint(name, tenants), tenants, 1, batch, target)
	}
}

// rate measures one installation beside the bare loop.
func (b *run) rate(ctx context.Context, name string, tenants, endpoints, batch int, target float64) (err error) {
	in, err := b.install(ctx, tenants, endpoints, takes)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := in.close(); err == nil {
			err = stopped
		}
	}()
	var t traffic
	loop, err := b.besideLoop(ctx, tenants*endpoints, func() (err error) {
		t, err = in.publishFor(ctx, b.cfg.Sizes.Window, batch)
		return err
	})
	if err != nil {
		return err
	}
	row := Row{Scenario: name, DeliveriesPerSecond: t.perSecond, LoopPerSecond: loop.perSecond, Ratio: t.perSecond / loop.perSecond,
		CPUMicrosPerEvent: t.cpu, LoopCPUMicros: loop.cpu, RSSMiB: t.rss,
		Target: fmt.Sprintf("ratio at least %.2f", target)}
	row.Met = row.Ratio >= target
	b.add(row)
	if batch == 1 {
		most := b.target(60, 120)
		b.add(Row{Scenario: name + "-cpu", CPUMicrosPerEvent: t.cpu, Target: fmt.Sprintf("at most %.0f µs an event", most), Met: t.cpu <= most})
	}
	return in.onRecord(ctx, 10_000)
}

// fanout measures events that each go to many endpoints.
func fanout(ctx context.Context, b *run) error {
	return b.rate(ctx, "fanout", 1, b.cfg.Sizes.Endpoints, 1, b.target(0.5, 0.25))
}

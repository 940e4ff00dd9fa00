package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// steadyRate is the traffic at which latency is measured, in events a second.
const steadyRate = 200

// latency measures from the start of the request that publishes, which is
// stricter than from the 202, to the arrival at the receiver.
func latency(ctx context.Context, b *run) (err error) {
	in, err := b.install(ctx, 1, 1, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if _, err := in.steady(ctx, b.cfg.Sizes.Window/4, nil); err != nil {
		return err
	}
	took, err := in.steady(ctx, 3*b.cfg.Sizes.Window, nil)
	if err != nil {
		return err
	}
	p50, p99 := b.target(1, 1.9), b.target(3, 5)
	row := Row{Scenario: "latency", DeliveriesPerSecond: steadyRate, P50Ms: percentile(took, 50), P99Ms: percentile(took, 99), RSSMiB: rssOf(in.cmd.Process.Pid),
		Target: fmt.Sprintf("p50 at most %.1f ms, p99 %.0f ms", p50, p99)}
	row.Met = row.P50Ms <= p50 && row.P99Ms <= p99
	b.add(row)
	return in.onRecord(ctx, 10_000)
}

// steady publishes at the steady rate, one event to each tenant in turn, and
// gives, in order of size, how long those took for which counts says so; nil
// counts all. The clock of each starts when it is due where the one before held
// the publisher up, else when the publisher awoke: timers are late by up to a
// millisecond.
func (in *installation) steady(ctx context.Context, window time.Duration, counts func(tenant int) bool) ([]time.Duration, error) {
	events := int(window.Seconds() * steadyRate)
	w := newWatch(events)
	in.b.sink.watch.Store(w)
	defer in.b.sink.watch.Store(nil)
	begin := time.Now()
	const connections = 8
	err := parallel(connections, connections, func(c int) error {
		p, err := in.b.newPublisher(in.url)
		if err != nil {
			return err
		}
		defer p.close()
		for n := c; n < events; n += connections {
			due := begin.Add(time.Duration(n) * time.Second / steadyRate)
			if early := time.Until(due); early > 0 {
				time.Sleep(early)
				due = time.Now()
			}
			w.since[n].Store(due.UnixNano())
			if err := p.publish(in.tenants[n%len(in.tenants)].token, "steady", n, n+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for n := range events {
		if counts != nil && !counts(n%len(in.tenants)) {
			continue
		}
		for w.took[n].Load() == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Duration(w.took[n].Load()))
	}
	slices.Sort(took)
	return took, nil
}

// percentile gives the p-th of sorted times, in milliseconds.
func percentile(sorted []time.Duration, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)-1)*p/100].Microseconds()) / 1000
}

// isolation measures healthy endpoints beside hanging ones, all with the same
// traffic. The share of those that hang grows; each figure stands against one
// of the same endpoints without them, taken right before.
func isolation(ctx context.Context, b *run) error {
	for _, hanging := range []int{10, 50} {
		if err := b.isolated(ctx, hanging); err != nil {
			return err
		}
	}
	return nil
}

func (b *run) isolated(ctx context.Context, hanging int) (err error) {
	const tenants = 100
	healthy := func(t int) bool { return t >= hanging }
	in, err := b.install(ctx, tenants, 1, func(t, _ int) string {
		if healthy(t) {
			return takes(t, 0)
		}
		return fmt.Sprint(pathHang, t)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.discard()) }() // a stop would wait for those that hang
	all := in.tenants
	window := 2 * b.cfg.Sizes.Window
	in.tenants = all[hanging:]
	if _, err := in.steady(ctx, window/4, nil); err != nil {
		return err
	}
	alone, err := in.steady(ctx, window, nil)
	if err != nil {
		return err
	}
	in.tenants = all
	if _, err := in.steady(ctx, window/4, healthy); err != nil {
		return err
	}
	beside, err := in.steady(ctx, window, healthy)
	if err != nil {
		return err
	}
	if n := b.sink.hanging.Load(); n < int64(hanging) {
		return fmt.Errorf("%d requests hang, fewer than there are hanging endpoints", n)
	}
	name := fmt.Sprint("isolation-", hanging)
	b.add(Row{Scenario: name + "-alone", DeliveriesPerSecond: steadyRate, P50Ms: percentile(alone, 50), P99Ms: percentile(alone, 99)})
	row := Row{Scenario: name, DeliveriesPerSecond: steadyRate, P50Ms: percentile(beside, 50), P99Ms: percentile(beside, 99), RSSMiB: rssOf(in.cmd.Process.Pid),
		Target: "healthy p99 at most 1.5 of none hanging"}
	row.Ratio = row.P99Ms / percentile(alone, 99)
	row.Met = row.Ratio <= 1.5
	b.add(row)
	in.tenants = all[hanging:]
	return in.onRecord(ctx, 10_000)
}

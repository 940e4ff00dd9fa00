package bench

import (
	"context"
	"errors"
	"strconv"
)

// What grows in the curves, as it stands in their rows' names.
const (
	curveFanout    = "fanout"
	curveEndpoints = "endpoints"
	curveHistory   = "history"
	curveBacklog   = "backlog"
)

func curveName(what string, n int) string { return what + curveMark + strconv.Itoa(n) }

// curves measures how the cost of a delivery grows with what there is much of.
func curves(ctx context.Context, b *run) error {
	for n := 1; n <= b.cfg.Sizes.Endpoints; n *= 10 {
		if err := b.point(ctx, curveName(curveFanout, n), 1, n); err != nil {
			return err
		}
	}
	for n := 1; n <= min(b.cfg.Sizes.Endpoints, few); n *= 10 {
		if err := b.point(ctx, curveName(curveEndpoints, n), n, 1); err != nil {
			return err
		}
	}
	return errors.Join(b.historyCurve(ctx), b.backlogCurve(ctx))
}

// point measures one installation.
func (b *run) point(ctx context.Context, name string, tenants, endpoints int) (err error) {
	in, err := b.install(ctx, tenants, endpoints, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return in.addPoint(ctx, name)
}

// addPoint measures a point beside the bare loop: a curve takes minutes, in which
// the processor's time may change its worth.
func (in *installation) addPoint(ctx context.Context, name string) error {
	var t traffic
	loop, err := in.b.besideLoop(ctx, in.endpoints, func() (err error) {
		t, err = in.publishFor(ctx, in.b.cfg.Sizes.Window/2, 1)
		return err
	})
	if err == nil {
		in.b.add(t.row(name, loop))
	}
	return err
}

func (t traffic) row(name string, loop pace) Row {
	return Row{Scenario: name, DeliveriesPerSecond: t.perSecond, LoopPerSecond: loop.perSecond, Ratio: t.perSecond / loop.perSecond,
		CPUMicrosPerEvent: t.cpu, LoopCPUMicros: loop.cpu, RSSMiB: t.rss}
}

// historyCurve lets the history of one store grow.
func (b *run) historyCurve(ctx context.Context) (err error) {
	in, err := b.install(ctx, 1, 10, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	written := 0
	for _, part := range []int{0, 100, 10, 1} {
		rows := 0
		if part > 0 {
			rows = b.cfg.Sizes.History / part
		}
		if err := in.withHistory(ctx, rows-written); err != nil {
			return err
		}
		written = rows
		if err := in.addPoint(ctx, curveName(curveHistory, rows)); err != nil {
			return err
		}
	}
	return nil
}

// backlogCurve drains one backlog after the other.
func (b *run) backlogCurve(ctx context.Context) (err error) {
	in, err := b.install(ctx, 1, few, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	for _, part := range []int{4, 2, 1} {
		var d drained
		loop, err := b.besideLoop(ctx, few, func() (err error) {
			d, err = in.drain(ctx, b.cfg.Sizes.Pending/part)
			return err
		})
		if err != nil {
			return err
		}
		r := d.row(curveName(curveBacklog, d.pending), loop)
		r.P50Ms = d.startMs
		b.add(r)
	}
	return nil
}

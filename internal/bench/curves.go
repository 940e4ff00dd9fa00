package bench

import (
	"context"
	"errors"
	"fmt"
)

// curves measures how the cost of a delivery grows with what there is much of.
func curves(ctx context.Context, b *run) error {
	for _, n := range []int{1, 10, 100, 1000} {
		if err := b.point(ctx, fmt.Sprint("fanout=", n), 1, n); err != nil {
			return err
		}
	}
	for _, n := range []int{1, 10, 100} {
		if err := b.point(ctx, fmt.Sprint("organisations=", n), n, 1); err != nil {
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

func (in *installation) addPoint(ctx context.Context, name string) error {
	t, err := in.publishFor(ctx, in.b.cfg.Sizes.Window/2, 1)
	if err == nil {
		in.b.add(t.row(name))
	}
	return err
}

func (t traffic) row(name string) Row {
	return Row{Scenario: name, DeliveriesPerSecond: t.perSecond, CPUMicrosPerEvent: t.cpu, RSSMiB: t.rss}
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
		if err := in.addPoint(ctx, fmt.Sprint("history=", rows)); err != nil {
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
		d, err := in.drain(ctx, b.cfg.Sizes.Pending/part)
		if err != nil {
			return err
		}
		r := d.row(fmt.Sprint("backlog=", d.pending))
		r.P50Ms = d.startMs
		b.add(r)
	}
	return nil
}

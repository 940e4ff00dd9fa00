package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tidings/client"
	"tidings/internal/localca"
)

// assure proves that what is measured is the whole product: private addresses
// are refused, a receiver whose certificate nobody vouches for gets nothing,
// what was accepted survives a kill, signatures verify, and each attempt is on
// record.
func (b *run) assure(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	in, err := b.install(ctx, 1, 1, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	for _, step := range []func(context.Context, *installation) error{b.guarded, b.verified, b.durable} {
		if err := step(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

// guarded wants private addresses refused, although loopback is allowed.
func (b *run) guarded(ctx context.Context, in *installation) error {
	for _, url := range []string{"https://10.0.0.1/webhooks", "https://169.254.169.254/latest", "https://[fd00::1]/webhooks"} {
		_, err := in.tenants[0].CreateEndpoint(ctx, client.NewEndpoint{URL: url})
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status/100 != 4 {
			return fmt.Errorf("the guard is off: %s was not refused: %v", url, err)
		}
	}
	return nil
}

// verified wants that nothing is sent to a receiver with a certificate of an
// unknown authority, and that this attempt is on record.
func (b *run) verified(ctx context.Context, in *installation) error {
	stranger, err := localca.New()
	if err != nil {
		return err
	}
	sink, err := newSink(stranger)
	if err != nil {
		return err
	}
	defer sink.close()
	t := in.tenants[0]
	e, err := t.CreateEndpoint(ctx, client.NewEndpoint{URL: sink.url + pathTake})
	if err != nil {
		return err
	}
	test, err := t.TestEndpoint(ctx, e.ID, client.TestRequest{})
	if err != nil {
		return err
	}
	for {
		d, err := t.Delivery(ctx, test.ID)
		if err != nil {
			return err
		}
		if len(d.Attempts) == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		if a := d.Attempts[0]; sink.arrived.Load() != 0 || a.StatusCode != 0 || a.ErrorCode != "tls" {
			return fmt.Errorf("verification is off: an untrusted receiver got an attempt that ended with status %d and %q", a.StatusCode, a.ErrorCode)
		}
		return t.DeleteEndpoint(ctx, e.ID)
	}
}

// durable publishes, kills the server at once, starts it again, and wants that
// every event arrives, signed, and each with its attempt on record.
func (b *run) durable(ctx context.Context, in *installation) error {
	const events = 2 * verifyEvery
	signed := b.sink.signed.Load()
	w := newWatch(events)
	b.sink.watch.Store(w)
	defer b.sink.watch.Store(nil)
	p, err := b.newPublisher(in.url)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.publish(in.tenants[0].token, "durable", 0, events); err != nil {
		return err
	}
	if err := in.kill(); err != nil {
		return err
	}
	if err := in.start(ctx); err != nil {
		return err
	}
	if in.tenants[0], err = in.first(ctx); err != nil {
		return err
	}
	for n := range events {
		for w.took[n].Load() == 0 {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("durability is off: event %d was acknowledged and is gone", n)
			}
		}
	}
	if err := in.recorded(ctx); err != nil {
		return err
	}
	if b.sink.signed.Load() == signed {
		return errors.New("no signature was verified")
	}
	return in.attempts(ctx, events)
}

// attempts wants so many deliveries, each with an attempt on record that was
// answered with 204.
func (in *installation) attempts(ctx context.Context, want int) error {
	n := 0
	for d, err := range in.tenants[0].Deliveries(ctx, client.DeliveryQuery{Status: "delivered"}) {
		if err != nil {
			return err
		}
		full, err := in.tenants[0].Delivery(ctx, d.ID)
		if err != nil {
			return err
		}
		if last := len(full.Attempts) - 1; last < 0 || full.Attempts[last].StatusCode != http.StatusNoContent {
			return fmt.Errorf("delivery %s has no attempt on record that was answered with 204", d.ID)
		}
		n++
	}
	if n != want {
		return fmt.Errorf("%d deliveries are on record, not %d", n, want)
	}
	return nil
}

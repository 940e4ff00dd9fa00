package app

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"time"

	"tidings"
	"tidings/internal/delivery"
	"tidings/internal/egress"
	"tidings/internal/server"
)

// wake hands the store's wakes to the engine. Those that come before there is
// one are not needed: the engine starts with all lanes that have something.
func (a *App) wake(wakes []tidings.Wake) {
	if a.engine != nil {
		a.engine.Wake(wakes)
	}
}

// sender lets the delivery engine post through the egress client.
type sender struct{ client *egress.Client }

func (s sender) Post(ctx context.Context, url string, header http.Header, body []byte) delivery.Answer {
	r := s.client.Post(ctx, url, header, body)
	return delivery.Answer{
		StatusCode: r.StatusCode, RetryAfter: r.RetryAfter, Excerpt: r.Excerpt,
		ErrorCode: string(r.Code), Error: r.Error, Duration: r.Timing.Total,
		Timing: tidings.Timing{DNS: r.Timing.DNS, Connect: r.Timing.Connect, TLS: r.Timing.TLS, Wait: r.Timing.Wait},
	}
}

const (
	// houseEvery is how often the house is kept.
	houseEvery = 2 * time.Second
	// A step of it touches at most so many rows; the store ends it sooner
	// while others write.
	houseStep = 200
	// While they do, there is a pause between two steps.
	housePause = 10 * time.Millisecond
)

// keepHouse does what needs doing now and then: it ends the deliveries of
// deleted endpoints and drops what has run out, step by step.
func (a *App) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	chores := []struct {
		what string
		do   func(ctx context.Context, limit int) (touched int, err error)
	}{
		{"canceling deliveries of deleted endpoints", a.Store.CancelDeleted},
		{"recovering", a.Store.Recovering},
		{"dropping what is older than the retention time", a.Store.Retain},
		{"deleting claims", a.Store.DeleteClaims},
		{"giving free space back", a.Store.Shrink},
		{"pruning", a.Store.Prune},
		{"writing tallies", a.Store.WriteTallies},
	}
	for {
		for _, chore := range chores {
			if err := a.untilNothing(ctx, chore.do); err != nil && ctx.Err() == nil {
				a.cfg.Log.Error(chore.what, "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// storeDetail is what /readyz shows of the store.
type storeDetail struct {
	Bytes         int64   `json:"bytes"`
	FreeBytes     *int64  `json:"freeBytes,omitempty"` // of the embedded database
	OldestEventAt *string `json:"oldestEventAt"`
}

func (a *App) detail(ctx context.Context) (any, error) {
	size, err := a.Store.Size(ctx)
	d := storeDetail{Bytes: size.Bytes}
	if size.Free >= 0 {
		d.FreeBytes = &size.Free
	}
	if size.OldestEvent != nil {
		at := size.OldestEvent.Format(server.TimeLayout)
		d.OldestEventAt = &at
	}
	return d, err
}

func (a *App) untilNothing(ctx context.Context, work func(context.Context, int) (int, error)) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for ctx.Err() == nil {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if n, err := work(ctx, houseStep); err != nil || n == 0 {
			return err
		}
		pause.Reset(a.housePause())
	}
	return ctx.Err()
}

// housePause is how long to wait between two steps of house-keeping.
func (a *App) housePause() time.Duration {
	if a.Store.Quiet() {
		return 0
	}
	return housePause
}

// quiet lets net/http report what it has to report, such as failed TLS
// handshakes, on the debug level: strangers cause most of it.
func quiet(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

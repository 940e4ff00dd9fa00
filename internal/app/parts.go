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
	}
}

const (
	// houseEvery is how often the house is kept.
	houseEvery = 2 * time.Second
	// houseChunk is how many rows one transaction of it touches: few, so that
	// deliveries do not wait behind it.
	houseChunk = 200
)

// keepHouse does what needs doing now and then: it ends the deliveries of
// deleted endpoints and drops what has run out, in chunks.
func (a *App) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		for name, work := range map[string]func(context.Context, int) (int, error){
			"canceling deliveries of deleted endpoints": a.Store.CancelDeleted,
			"pruning": a.Store.Prune,
		} {
			if err := untilNothing(ctx, work); err != nil && ctx.Err() == nil {
				a.cfg.Log.Error(name, "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func untilNothing(ctx context.Context, work func(context.Context, int) (int, error)) error {
	for ctx.Err() == nil {
		if n, err := work(ctx, houseChunk); err != nil || n == 0 {
			return err
		}
	}
	return ctx.Err()
}

// quiet lets net/http report what it has to report, such as failed TLS
// handshakes, on the debug level: strangers cause most of it.
func quiet(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

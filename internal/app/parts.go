package app

import (
	"context"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"tidings"
	"tidings/deploy"
	"tidings/docs"
	"tidings/examples"
	"tidings/internal/delivery"
	"tidings/internal/egress"
	"tidings/internal/server"
	"tidings/internal/site"
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

func (s sender) Post(ctx context.Context, deadline time.Time, url string, header http.Header, body []byte) delivery.Answer {
	r := s.client.PostUntil(ctx, deadline, url, header, body)
	return delivery.Answer{
		StatusCode: r.StatusCode, RetryAfter: r.RetryAfter, Excerpt: r.Excerpt,
		ErrorCode: string(r.Code), Error: r.Error, Duration: r.Timing.Total,
		Timing: tidings.Timing{DNS: r.Timing.DNS, Connect: r.Timing.Connect, TLS: r.Timing.TLS, Wait: r.Timing.Wait},
	}
}

// documentation gives the site of the texts that this program holds.
func documentation(cfg Config) (*site.Site, error) {
	return site.New(site.Config{
		Files:   map[string]fs.FS{"docs": docs.Files, "examples": examples.Files, "deploy": deploy.Files},
		OpenAPI: server.OpenAPIPath, Version: cfg.Version, Log: cfg.Log,
	})
}

const (
	// houseEvery is how often the house is kept.
	houseEvery = 2 * time.Second
	// A step of it touches at most so many rows; the store ends it sooner
	// while others write.
	houseStep = 200
	// It begins with fewer, and goes on with twice what the last got done, as a
	// step reads all of them before it knows how many it has time for.
	houseLeast = 16
	// While they do, there is a pause between two steps.
	housePause = 10 * time.Millisecond
)

// keepHouse does what needs doing now and then: it ends the deliveries of
// deleted endpoints and drops what has run out, step by step. Of several nodes
// one does it, but each writes what it has counted itself.
func (a *App) keepHouse(ctx context.Context) {
	once := func(do func(context.Context, int) (int, error)) func(context.Context, int) (int, error) {
		return func(ctx context.Context, limit int) (int, error) {
			if !a.Store.KeepsHouse() {
				return 0, nil
			}
			return do(ctx, limit)
		}
	}
	chores := []chore{
		{"canceling deliveries of deleted endpoints", once(a.Store.CancelDeleted)},
		{"recovering", once(a.Store.Recovering)},
		{"making partitions ahead", once(a.Store.Partition)},
		{"dropping what is older than the retention time", once(a.Store.Retain)},
		{"dropping what was taken out of history", once(a.Store.Forget)},
		{"deleting claims", once(a.Store.DeleteClaims)},
		{"giving free space back", once(a.Store.Shrink)},
		{"pruning", once(a.Store.Prune)},
		{"forgetting traces", once(a.Store.PruneTraces)},
		{"writing tallies", a.Store.WriteTallies},
	}
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		a.stepByStep(ctx, chores, tick.C)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// chore is something that house-keeping does.
type chore struct {
	what string
	do   func(ctx context.Context, limit int) (touched int, err error)
}

// stepByStep does a step of each chore in turn, until none has anything left, so
// that a long one keeps no other waiting. One that had nothing to do, or failed,
// is tried again at the next tick.
func (a *App) stepByStep(ctx context.Context, chores []chore, tick <-chan time.Time) {
	due, limit := slices.Clone(chores), map[string]int{}
	for _, c := range chores {
		limit[c.what] = houseLeast
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for len(due) > 0 {
		due = slices.DeleteFunc(due, func(c chore) bool {
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				return true
			}
			n, err := c.do(ctx, limit[c.what])
			limit[c.what] = min(max(2*n, houseLeast), houseStep)
			if err != nil && ctx.Err() == nil {
				a.cfg.Log.Error(c.what, "error", err)
			}
			pause.Reset(a.housePause(n))
			return err != nil || n == 0
		})
		select {
		case <-tick:
			if len(due) > 0 {
				due = slices.Clone(chores)
			}
		default:
		}
	}
}

// storeDetail is what /readyz shows of the store.
type storeDetail struct {
	Bytes         int64   `json:"bytes"`
	FreeBytes     *int64  `json:"freeBytes,omitempty"` // of the embedded database
	OldestEventAt *string `json:"oldestEventAt"`
	Nodes         int     `json:"nodes,omitzero"`  // on PostgreSQL: how many live
	Shards        int     `json:"shards,omitzero"` // that this one holds, of [tidings.Shards]
	Wakes         string  `json:"wakes,omitzero"`  // how it learns what the others do: "listen" or "poll"
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
	if a.cfg.Database != "" {
		d.Nodes, d.Shards = a.Store.Nodes()
		if d.Wakes = "poll"; a.Store.Listens() {
			d.Wakes = "listen"
		}
	}
	return d, err
}

// housePause is how long to wait behind a step of house-keeping that touched
// so many rows.
func (a *App) housePause(touched int) time.Duration {
	if touched == 0 || a.Store.Quiet() {
		return 0
	}
	return housePause
}

// quiet lets net/http report what it has to report, such as failed TLS
// handshakes, on the debug level: strangers cause most of it.
func quiet(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

// unused keeps the connections that no request has come over yet. A stop waits
// for each of them, as long as one may be on its way; here it closes them, as
// clients that are refused a connection come back.
type unused struct {
	mu      sync.Mutex
	ended   bool
	waiting map[net.Conn]bool
}

// track is a [http.Server.ConnState].
func (u *unused) track(c net.Conn, state http.ConnState) {
	if state == http.StateIdle { // it was active before, and is none of these any more
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.waiting, c)
	case u.ended:
		c.Close()
	default:
		if u.waiting == nil {
			u.waiting = map[net.Conn]bool{}
		}
		u.waiting[c] = true
	}
}

// close closes them, and those that were accepted meanwhile.
func (u *unused) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	for c := range u.waiting {
		c.Close()
	}
}

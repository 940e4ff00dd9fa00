package delivery

import (
	"context"
	"encoding/base64"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"tidings"
	"tidings/webhook"
)

// loadJob asks for a lane to be read.
type loadJob struct {
	endpoint  int64
	lane      *lane
	target    bool                  // read the endpoint
	rows      bool                  // read rows
	probe     bool                  // the lane is probing
	urgent    tidings.QueuePosition // somebody wants this one tried now; zero: no one
	lastProbe time.Time
	changes   int // of the lane, when this was asked for
	from      tidings.QueuePosition
	limit     int
}

// loaded is what a reading gave.
type loaded struct {
	job    loadJob
	target *target // where the endpoint was read
	rows   []tidings.PendingDelivery
	again  time.Time // of a probe: when to look again
	err    error
}

// requestLoad hands a lane to a loader, or lets it wait for one.
func (e *Engine) requestLoad(l *lane, now time.Time) {
	l.loading = true
	if e.freeLoaders == 0 {
		e.waitingLoad = append(e.waitingLoad, l)
		return
	}
	e.freeLoaders--
	job := loadJob{endpoint: l.key, lane: l, target: l.target == nil || l.stale || !now.Before(l.target.until), probe: l.probing(), lastProbe: l.health.LastFailureAt,
		changes: l.changes, from: l.from}
	if e.shards.tenure.Others {
		// What another node has put before that place may not have been heard of, and
		// what it put behind must not pass it.
		job.from = tidings.QueuePosition{}
	}
	job.limit = l.toRead(job.from)
	job.rows = l.wantsRows(now)
	if len(l.urgent) > 0 {
		job.urgent = l.urgent[0]
	}
	e.loadJobs <- job
}

// load is a loader: it reads lanes until the engine stops.
func (e *Engine) load(ctx context.Context) {
	for job := range e.loadJobs {
		e.loads.put(e.read(ctx, job))
	}
}

func (e *Engine) read(ctx context.Context, job loadJob) loaded {
	out := loaded{job: job}
	if job.target {
		if out.target, out.err = e.readTarget(ctx, job.endpoint); out.err != nil {
			return out
		}
		// Whether rows are wanted, and which, depends on what was read.
		out.job.rows = out.job.rows && out.target.Enabled && !out.target.Finishing && job.probe == (out.target.Health.Failures >= probeFrom)
	}
	switch {
	case !out.job.rows:
	case job.probe:
		out.rows, out.again, out.err = e.readProbe(ctx, job)
	default:
		out.rows, out.err = e.store.Pending(ctx, job.endpoint, job.from, job.limit)
	}
	return out
}

func (e *Engine) readTarget(ctx context.Context, endpoint int64) (*target, error) {
	read := e.cfg.Now()
	lane, err := e.store.Lane(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	t := &target{Lane: lane, until: far}
	if e.cfg.Sharded {
		t.until = read.Add(targetLife)
	}
	if t.Finishing {
		t.until = read.Add(finishingLook)
	}
	if !lane.Enabled {
		return t, nil
	}
	secrets := make([]webhook.Secret, len(lane.Secrets))
	for i, s := range lane.Secrets {
		if secrets[i], err = webhook.ParseSecret(s.Secret); err != nil {
			return nil, err
		}
		if s.ExpiresAt != nil {
			t.until = earlier(t.until, *s.ExpiresAt)
		}
	}
	if t.signer, err = webhook.NewSigner(secrets...); err != nil {
		return nil, err
	}
	if slices.Contains(lane.Signatures, tidings.SignatureV1a) {
		key, err := webhook.ParseSigningKey("whsk_" + base64.StdEncoding.EncodeToString(lane.SigningKey))
		if err != nil {
			return nil, err
		}
		if t.signer, err = t.signer.WithKeys(key); err != nil {
			return nil, err
		}
	}
	if lane.RateLimit > 0 {
		// A second's worth may go out at once, but never after a restart.
		t.limiter = rate.NewLimiter(rate.Limit(lane.RateLimit), max(int(lane.RateLimit), 1))
		t.limiter.AllowN(e.cfg.Now(), t.limiter.Burst()-1)
	}
	return t, nil
}

// readProbe chooses the delivery that tries whether a failing endpoint is back:
// the oldest one when it is due. Where that is long from now, another that is
// due may try after a silence, so that an endpoint that came back is not left
// waiting for hours. One that somebody wants tried now goes first.
func (e *Engine) readProbe(ctx context.Context, job loadJob) (rows []tidings.PendingDelivery, again time.Time, err error) {
	now := e.cfg.Now()
	oldest, err := e.store.OldestPending(ctx, job.endpoint)
	if tidings.KindOf(err) == tidings.KindNotFound {
		return nil, far, nil
	}
	if err != nil {
		return nil, far, err
	}
	if job.urgent.Key != 0 {
		before := tidings.QueuePosition{Due: job.urgent.Due, Key: job.urgent.Key - 1}
		rows, err := e.store.Pending(ctx, job.endpoint, before, 1)
		if err != nil || len(rows) == 1 && rows[0].Key == job.urgent.Key {
			return rows, oldest.Due, err
		}
	}
	if !oldest.Due.After(now) {
		return []tidings.PendingDelivery{oldest}, oldest.Due, nil
	}
	first, err := e.store.Pending(ctx, job.endpoint, tidings.QueuePosition{}, 1)
	if err != nil || len(first) == 0 {
		return nil, oldest.Due, err
	}
	at := job.lastProbe.Add(probeSilence)
	if first[0].Due.After(at) {
		at = first[0].Due
	}
	if !at.After(now) {
		return first, oldest.Due, nil
	}
	return nil, earlier(oldest.Due, at), nil
}

func (e *Engine) onLoaded(out loaded, now time.Time) {
	e.freeLoaders++
	if l := out.job.lane; !l.gone {
		e.takeLoaded(l, out, now)
		e.settled(l)
		e.touch(l, now)
	}
	for len(e.waitingLoad) > 0 && e.freeLoaders > 0 {
		l := e.waitingLoad[0]
		e.waitingLoad = e.waitingLoad[1:]
		if !l.gone {
			e.requestLoad(l, now)
		}
	}
}

func (e *Engine) takeLoaded(l *lane, out loaded, now time.Time) {
	if out.err != nil {
		e.cfg.Log.Error("reading a lane", "endpoint_key", l.key, "error", out.err)
		l.muted = now.Add(time.Second)
		l.settle()
		return
	}
	if out.target != nil {
		first := l.target == nil
		if !first && l.target.RateLimit == out.target.RateLimit {
			out.target.limiter = l.target.limiter
		} else {
			l.slot = time.Time{} // it was that of another limit
		}
		enabled := !first && !l.target.Enabled && out.target.Enabled // its clock begins anew
		l.target, l.stale = out.target, l.changes != out.job.changes
		l.window = min(l.window, l.target.MaxInFlight)
		if first || enabled || len(l.held) == 0 {
			l.health = out.target.Health
		}
		if first && l.target.limiter != nil && e.cfg.Sharded {
			// Whoever held the lane before may have sent just then.
			l.slot = later(l.slot, e.shards.gained[tidings.ShardOf(l.key)].Add(time.Duration(float64(time.Second)/l.target.RateLimit)))
		}
		if !l.target.Enabled || l.target.Finishing || l.probing() != out.job.probe {
			l.settle()
			l.empty()
			l.lower(time.Time{})
			return
		}
	}
	switch {
	case !out.job.rows:
		l.settle()
	case out.job.probe != l.probing():
		l.settle()
		l.lower(time.Time{})
	case out.job.probe:
		l.loadedProbe(out.rows, out.again, out.job.urgent)
	default:
		l.loaded(out.rows, out.job.limit, now)
	}
}

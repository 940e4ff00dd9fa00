package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"tidings"
)

// This file gives events their deliveries behind the commit that accepts them,
// where those are many: a transaction of 100,000 rows would hold all others up. The
// event is accepted together with a row that says for which endpoints, as they
// stood then. Steps of the writer's own make the deliveries, each with as many as
// nobody feels, along with a batch of others or right behind it; the row's cursor
// moves in the same transaction.
//
// A step takes up to waveEvents events of an organisation together, and of these
// one endpoint after the other: what stands together in the queue's indexes is
// written together, and is sent together.

const (
	// fanAtOnce is how many deliveries of an event, and fanOfItem how many of one
	// write, are made by the transaction that accepts it.
	fanAtOnce = 64
	fanOfItem = 1024
	// expandRows is how many deliveries a step makes at most: a quarter of a batch.
	expandRows = 512
	// waveEvents is how many events go through the endpoints together: as many as a
	// lane of a thousand has room for in memory, so that they are not read again. Those that
	// come meanwhile are in the next wave.
	waveEvents = 24
	// expandPatience is how old the oldest event of an organisation that waits may be
	// before no more are taken behind it.
	expandPatience = 30 * time.Second
	// expandPause is before another try where a step failed.
	expandPause = time.Second
)

// expander is what the writer knows of such events.
type expander struct {
	expand    atomic.Pointer[func(*tx) error] // a step, nil where others do them
	expanding bool                            // there may be some
	turn      int64                           // the organisation whose events had the last step
	resting   time.Time                       // no step before then: one has failed
}

// expand is a step: it makes up to expandRows deliveries, of one
// organisation after the other, and notes when nothing is left to do.
func (s *Store) expand(t *tx) error {
	if err := t.settle(); err != nil { // of the batch that it goes along with, too
		return err
	}
	for made := 0; ; {
		org, err := t.nextToExpand()
		if err != nil || org == 0 || made > expandRows-waveEvents {
			return err
		}
		t.w.turn = org
		n, err := s.expandOf(t, org, expandRows-made)
		if err != nil {
			return err
		}
		made += n
	}
}

const nextExpanding = "SELECT organisation_id FROM expansion WHERE organisation_id > $1 ORDER BY organisation_id LIMIT 1"

// nextToExpand gives the organisation whose turn it is, 0 where no event waits.
func (t *tx) nextToExpand() (org int64, err error) {
	for _, after := range []int64{t.w.turn, 0} {
		if err = t.queryRow(nextExpanding, []any{after}, &org); !errors.Is(err, sql.ErrNoRows) {
			return org, err
		}
	}
	t.expanding, t.postponed = false, false
	return 0, nil
}

// wave is the events of an organisation that are at the same place of the list of
// its endpoints.
type wave struct {
	organisation, cursor int64
	events               []expanding
	audiences            []audience
}

// expanding is an event of a wave, as a delivery without key and endpoint.
type expanding struct {
	tidings.PendingDelivery
	audience int // its place in the wave's list
}

type audience struct {
	key       int64
	endpoints endpointKeys
	events    int64 // of the wave
}

// expandOf makes the deliveries of the next events of an organisation, for as many
// endpoints as make budget deliveries, but for one at least.
func (s *Store) expandOf(t *tx, org int64, budget int) (made int, err error) {
	w, err := s.readWave(t, org)
	if err != nil {
		return 0, err
	}
	endpoints := w.next(max(budget/len(w.events), 1))
	held, err := t.heldBehind(w, endpoints)
	if err != nil {
		return 0, err
	}
	for _, endpoint := range endpoints {
		n, err := t.fanTo(w, endpoint, held)
		if err != nil {
			return 0, err
		}
		made += n
	}
	return made, t.moveWave(w, endpoints[len(endpoints)-1])
}

const waveOf = "SELECT event_id, issuance_key, audience_id, cursor FROM expansion WHERE organisation_id = $1 ORDER BY event_id LIMIT $2"

// readWave reads the next wave of an organisation: its first event that waits, and
// those behind it that are where it is.
func (s *Store) readWave(t *tx, org int64) (w wave, err error) {
	w.organisation = org
	places := map[int64]int{}
	over := false
	now := fromMillis(t.now)
	err = t.query(waveOf, []any{org, waveEvents}, func(r scanner) error {
		x := expanding{PendingDelivery: tidings.PendingDelivery{OrganisationKey: org, Due: now}}
		var audienceKey, cursor int64
		if err := r.Scan(&x.EventKey, &x.IssuanceKey, &audienceKey, &cursor); err != nil {
			return err
		}
		if len(w.events) == 0 {
			w.cursor = cursor
		}
		if over = over || cursor != w.cursor; over {
			return nil
		}
		place, known := places[audienceKey]
		if !known {
			place = len(w.audiences)
			places[audienceKey] = place
			w.audiences = append(w.audiences, audience{key: audienceKey})
		}
		w.audiences[place].events++
		x.audience = place
		w.events = append(w.events, x)
		return nil
	})
	if err == nil {
		err = s.completeWave(t, &w)
	}
	return w, err
}

// completeWave reads what is sent, and the endpoints.
func (s *Store) completeWave(t *tx, w *wave) (err error) {
	var keys rows
	places := map[int64]*expanding{}
	for i := range w.events {
		x := &w.events[i]
		if x.Trace, err = t.traceOf(x.EventKey); err != nil {
			return err
		}
		keys.add(x.EventKey)
		places[x.EventKey] = x
	}
	read := 0
	err = t.readRows(eventsToSend, &keys, func(r scanner) error {
		var key, created int64
		var typ tidings.EventType
		var body []byte
		if err := r.Scan(&key, &typ, &body, &created); err != nil {
			return err
		}
		x := places[key]
		x.EventType, x.Body, x.EventID, x.CreatedAt = typ, body, s.ids.public(key), fromMillis(created)
		read++
		return nil
	})
	if err != nil {
		return err
	}
	for i := range w.audiences {
		a := &w.audiences[i]
		if err := t.queryRow("SELECT endpoints FROM audience WHERE id = $1", []any{a.key}, (*[]byte)(&a.endpoints)); err != nil {
			return err
		}
	}
	if read < len(w.events) || len(w.next(1)) == 0 {
		return errors.New("an event that waits for deliveries is missing, or goes to no endpoint")
	}
	return nil
}

// next gives the next endpoints of the wave, up to a number.
func (w *wave) next(n int) (out []int64) {
	for _, a := range w.audiences {
		from := a.endpoints.upTo(w.cursor)
		for i := from; i < min(from+n, a.endpoints.len()); i++ {
			out = append(out, a.endpoints.at(i))
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(n, len(out))]
}

// heldTimes tells from when to when earlier events of an issuance wait at an endpoint
// (milliseconds).
type heldTimes map[[2]int64]struct{ first, last int64 }

// heldBehind finds what the events of a wave have to wait for at some endpoints.
// Their own deliveries there are not made yet.
func (t *tx) heldBehind(w wave, endpoints []int64) (heldTimes, error) {
	var ranges rows
	asked := map[int64]bool{}
	for _, x := range w.events {
		if !asked[x.IssuanceKey] {
			asked[x.IssuanceKey] = true
			ranges.add(x.IssuanceKey, endpoints[0], endpoints[len(endpoints)-1])
		}
	}
	out := heldTimes{}
	return out, t.readRows(heldWithin, &ranges, func(r scanner) error {
		var at [2]int64
		var due int64
		err := r.Scan(&at[0], &at[1], &due)
		h, known := out[at]
		if !known {
			h.first = due
		}
		h.first, h.last = min(h.first, due), max(h.last, due)
		out[at] = h
		return err
	})
}

// fanTo makes the deliveries of a wave for one endpoint, and tells how many.
func (t *tx) fanTo(w wave, endpoint int64, waiting heldTimes) (made int, err error) {
	wake := tidings.Wake{EndpointKey: endpoint, Due: fromMillis(t.now)}
	for _, x := range w.events {
		if !w.audiences[x.audience].endpoints.has(endpoint) {
			continue
		}
		d := x.PendingDelivery
		d.Key, d.EndpointKey = t.key(), endpoint
		if h, ok := waiting[[2]int64{d.IssuanceKey, endpoint}]; ok {
			d.Due = fromMillis(max(h.last, t.now))
			t.wake(tidings.Wake{EndpointKey: endpoint, Due: fromMillis(min(h.first, t.now))}) // see enqueue
		} else {
			wake.Deliveries = append(wake.Deliveries, d)
		}
		if err := t.queue(&d); err != nil {
			return made, err
		}
		made++
	}
	if len(wake.Deliveries) > 0 {
		t.wake(wake)
	}
	return made, nil
}

// moveWave notes that a wave has got its deliveries for the endpoints up to one.
func (t *tx) moveWave(w wave, upTo int64) error {
	const ofWave = "organisation_id = $1 AND event_id >= $2 AND event_id <= $3 AND audience_id = $4"
	first, last := w.events[0].EventKey, w.events[len(w.events)-1].EventKey
	var done bool
	for _, a := range w.audiences {
		was, is := a.endpoints.upTo(w.cursor), a.endpoints.upTo(upTo)
		if is < a.endpoints.len() {
			err := t.expect(a.events, "UPDATE expansion SET cursor = $5, remaining = remaining - $6, moved_at = $7 WHERE "+ofWave,
				w.organisation, first, last, a.key, upTo, is-was, t.now)
			if err != nil {
				return err
			}
			continue
		}
		done = true
		if err := t.expect(a.events, "DELETE FROM expansion WHERE "+ofWave, w.organisation, first, last, a.key); err != nil {
			return err
		}
		if err := t.later("DELETE FROM audience WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM expansion WHERE audience_id = $1)", a.key); err != nil {
			return err
		}
	}
	if !done {
		return nil
	}
	// Whose turn it is now has not waited for it before.
	return t.later(`UPDATE expansion SET moved_at = $1 WHERE organisation_id = $2
		AND event_id = (SELECT min(event_id) FROM expansion WHERE organisation_id = $2)`, t.now, w.organisation)
}

// withStep adds the next step to what the writer takes up, if there is one.
func (w *writer) withStep(items []*item) (all []*item, step *item) {
	do := w.expand.Load()
	if do == nil || !w.expanding || time.Now().Before(w.resting) {
		return items, nil
	}
	step = &item{class: classExpansion, rows: expandRows, do: *do, done: make(chan struct{})}
	return append(items, step), step
}

// goOn has the next step follow, at once or, where this one failed, in a while.
func (w *writer) goOn(step *item) {
	switch {
	case !w.expanding || w.expand.Load() == nil || time.Now().Before(w.resting):
	case step == nil || step.err == nil:
		w.in.signal()
	default:
		if w.trouble() == nil { // that would have been told
			w.log.Error("making the deliveries of accepted events", "error", step.err)
		}
		w.resting = time.Now().Add(expandPause)
		time.AfterFunc(expandPause, w.in.signal)
	}
}

// startExpanding has the writer do what a crash left, and all steps from now on.
func (s *Store) startExpanding() {
	do := s.expand
	s.w.expand.Store(&do)
	s.w.in.signal()
}

// expanded gives those of an organisation's events, which are in order, that stand
// before the first one that waits for its deliveries.
func (t *tx) expanded(org int64, events []pastEvent) ([]pastEvent, error) {
	if !t.expanding && !t.postponed {
		return events, nil
	}
	if err := t.settle(); err != nil {
		return nil, err
	}
	var first int64
	err := t.queryRow(firstToExpand, []any{org}, &first)
	if errors.Is(err, sql.ErrNoRows) {
		return events, nil
	}
	return slices.DeleteFunc(slices.Clone(events), func(x pastEvent) bool { return x.key >= first }), err
}

// waitsBefore tells whether an event with a key below one waits for deliveries.
func (t *tx) waitsBefore(key int64) (waits bool, err error) {
	if !t.expanding && !t.postponed {
		return false, nil
	}
	err = t.queryRow("SELECT EXISTS (SELECT 1 FROM expansion WHERE event_id < $1)", []any{key}, &waits)
	return waits, err
}

const unexpanded = "SELECT CAST(COALESCE(sum(remaining), 0) AS BIGINT), min(event_id) FROM expansion"

// unexpanded tells how many deliveries of accepted events are not made yet, and
// since when the oldest of these events waits.
func (s *Store) unexpanded(ctx context.Context) (deliveries int64, since nullable, err error) {
	err = s.queryRow(ctx, unexpanded, nil, &deliveries, &since)
	since.Int64 = timeOf(since.Int64)
	return deliveries, since, err
}

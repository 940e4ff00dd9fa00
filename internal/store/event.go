package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"tidings"
)

// Publish accepts events of another issuer: all of them or none, in one
// transaction with a delivery for every endpoint that wants them. Events whose
// key was used before for the same event are given again, not made again.
// Errors point to "/N/…", also where there is only one event.
func (s *Store) Publish(ctx context.Context, org int64, events []tidings.NewEvent, idem *tidings.Idempotency) (out []tidings.Event, err error) {
	it := &item{class: classPublish, organisation: org, rows: len(events), issuances: issuancesOf(events)}
	it.do = func(t *tx) (err error) {
		keys, again, err := t.idempotentAll(org, idem, func() ([]int64, error) {
			out, err = s.publish(t, org, events)
			return s.keysOfEvents(out), err
		})
		if err == nil && again {
			out, err = s.eventsByKey(t, keys, events)
		}
		return err
	}
	err = s.w.await(ctx, it)
	return out, err
}

func issuancesOf(events []tidings.NewEvent) []int64 {
	out := make([]int64, len(events))
	for i := range events {
		out[i] = issuanceKey(events[i].IssuanceID)
	}
	return out
}

// lookAhead reads at once, before the first publish or step of a batch, what each
// of them would read by itself: the issuances, where their organisations' events go,
// and which of their issuances have events that are pending.
func (t *tx) lookAhead(items []*item) error {
	if t.ahead || !items[0].foresees() {
		return nil
	}
	t.ahead = true
	if n := slices.IndexFunc(items, func(it *item) bool { return !it.foresees() }); n > 0 {
		items = items[:n]
	}
	if err := t.foresee(items); err != nil {
		return err
	}
	var organisations, issuances rows // what is not known yet
	for _, it := range items {
		if it.foresight != nil && !it.foresight.tells {
			continue
		}
		if _, ok := t.endpoints[it.organisation]; !ok {
			t.endpoints[it.organisation] = nil
			organisations.add(it.organisation)
		}
		for _, key := range it.issuances {
			if _, ok := t.waiting[key]; !ok {
				t.waiting[key] = false
				issuances.add(key)
			}
		}
	}
	if err := t.lookBehind(); err != nil {
		return err
	}
	err := t.ask(fanoutsOf, &organisations, func(r scanner) error {
		var org int64
		p, err := scanFanEndpoint(r, &org)
		t.endpoints[org] = append(t.endpoints[org], p)
		return err
	})
	if err != nil {
		return err
	}
	err = t.ask(issuancesWaiting, &issuances, func(r scanner) error {
		var key int64
		err := r.Scan(&key)
		t.waiting[key] = true
		return err
	})
	return errors.Join(err, t.send())
}

func (s *Store) keysOfEvents(events []tidings.Event) []int64 {
	keys := make([]int64, len(events))
	for i := range events {
		keys[i], _ = s.ids.key(events[i].ID)
	}
	return keys
}

func (s *Store) publish(t *tx, org int64, events []tidings.NewEvent) ([]tidings.Event, error) {
	out := make([]tidings.Event, len(events))
	for i, n := range events {
		e, err := s.publishOne(t, org, n, "/"+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		out[i] = e
	}
	return out, nil
}

func (s *Store) publishOne(t *tx, org int64, n tidings.NewEvent, at string) (e tidings.Event, err error) {
	if err := s.refuseOwn(t, n, at); err != nil {
		return e, err
	}
	if n.IdempotencyKey == "" {
		return s.tell(t, org, n.Type, n.IssuanceID)
	}
	idem := &tidings.Idempotency{Route: "event", Key: n.IdempotencyKey, Hash: sha256.Sum256([]byte(string(n.Type) + "\n" + n.IssuanceID))}
	keys, again, err := t.idempotentAll(org, idem, func() ([]int64, error) {
		e, err = s.tell(t, org, n.Type, n.IssuanceID)
		return s.keysOfEvents([]tidings.Event{e}), err
	})
	if c, ok := errors.AsType[*tidings.Error](err); ok && c.Kind == tidings.KindConflict {
		return e, &tidings.Error{Kind: tidings.KindConflict, Pointer: at + "/idempotencyKey", Message: c.Message}
	}
	if err != nil || !again {
		return e, err
	}
	before, err := s.eventsByKey(t, keys, []tidings.NewEvent{n})
	if err != nil {
		return e, err
	}
	return before[0], nil
}

// refuseOwn refuses an event of an issuance that this installation made itself:
// those tell their own story.
func (s *Store) refuseOwn(t *tx, n tidings.NewEvent, at string) error {
	key, ours := s.ids.key(n.IssuanceID)
	if !ours {
		return nil
	}
	var one int
	err := t.queryRow("SELECT 1 FROM issuance WHERE id = $1", []any{key}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return &tidings.Error{Kind: tidings.KindConflict, Pointer: at + "/payload/openId4VcIssuanceId",
		Message: "This issuance was made here: its events are written by what happens to it and cannot be published."}
}

// fanEndpoint is what fan-out needs of an endpoint.
type fanEndpoint struct {
	key    int64
	filter []tidings.EventType
}

// tell accepts an event of an issuance.
func (s *Store) tell(t *tx, org int64, typ tidings.EventType, issuanceID string) (tidings.Event, error) {
	return s.accept(t, org, typ, tidings.EventPayload{OpenID4VCIssuanceID: issuanceID}, 0)
}

// accept writes an event and a delivery of it for every endpoint of the
// organisation that wants it, but for the one that it is about.
func (s *Store) accept(t *tx, org int64, typ tidings.EventType, payload tidings.EventPayload, about int64) (tidings.Event, error) {
	endpoints, err := t.fanout(org)
	if err != nil {
		return tidings.Event{}, err
	}
	var to []int64
	for _, p := range endpoints {
		if p.key != about && tidings.Matches(p.filter, typ) {
			to = append(to, p.key)
		}
	}
	e := tidings.Event{Type: typ, IssuanceID: payload.OpenID4VCIssuanceID, Payload: payload}
	_, err = s.write(t, org, &e, to)
	return e, err
}

// subjectOfEndpoint stands before the endpoint's id where an operational event
// has no issuance to be ordered by.
const subjectOfEndpoint = "endpoint:"

// write writes an event and its deliveries. It gives the keys of those that are
// made at once.
func (s *Store) write(t *tx, org int64, e *tidings.Event, to []int64) (deliveries []int64, err error) {
	key := t.key()
	e.ID, e.CreatedAt = s.ids.public(key), fromMillis(t.now)
	subject := cmp.Or(e.IssuanceID, subjectOfEndpoint+e.Payload.EndpointID)
	d := tidings.PendingDelivery{OrganisationKey: org, EventKey: key, IssuanceKey: issuanceKey(subject), EventID: e.ID, EventType: e.Type, Body: e.Body(),
		Due: e.CreatedAt, CreatedAt: e.CreatedAt, Test: e.Test}
	d.Trace = t.trace
	if err := t.keepTrace(key); err != nil {
		return nil, err
	}
	if deliveries, err = t.fanOut(d, to); err != nil {
		return nil, err
	}
	t.told = true
	if !e.Test {
		t.events = append(t.events, e.Type)
	}
	// position is the order of commit: with one writer, that of the keys.
	return deliveries, t.put(insertEvents, &t.w.bulk.events, key, org, key, d.IssuanceKey, e.IssuanceID, string(e.Type), d.Body, len(to), number(e.Test), t.now)
}

const fanoutOf = "SELECT organisation_id, id, filter_types FROM endpoint WHERE organisation_id = $1 AND deleted_at IS NULL ORDER BY id"

// fanout gives the organisation's endpoints, read once per batch. Disabled ones
// collect too.
func (t *tx) fanout(org int64) ([]fanEndpoint, error) {
	if found, ok := t.endpoints[org]; ok {
		return found, nil
	}
	found := []fanEndpoint{}
	err := t.query(fanoutOf, []any{org},
		func(r scanner) error {
			p, err := scanFanEndpoint(r, new(int64))
			found = append(found, p)
			return err
		})
	t.endpoints[org] = found
	return found, err
}

func scanFanEndpoint(r scanner, organisation *int64) (p fanEndpoint, err error) {
	var filter string
	err = r.Scan(organisation, &p.key, &filter)
	p.filter = splitTypes(filter)
	return p, err
}

// issuanceKey is 63 bits of SHA-256 over the issuance's id. Where two ids meet,
// their events wait for one another at the same endpoint, and nothing else.
func issuanceKey(id string) int64 {
	sum := sha256.Sum256([]byte(id))
	return int64(binary.BigEndian.Uint64(sum[:8]) & math.MaxInt64)
}

const eventColumns = "e.id, e.type, e.issuance_id, e.body, e.test, e.created_at"

func (s *Store) scanEvent(r scanner) (e tidings.Event, err error) {
	var key, created int64
	var body []byte
	if err = r.Scan(&key, &e.Type, &e.IssuanceID, &body, &e.Test, &created); err != nil {
		return e, err
	}
	e.ID, e.CreatedAt = s.ids.public(key), fromMillis(created)
	return e, json.Unmarshal(body, &struct{ Payload *tidings.EventPayload }{&e.Payload})
}

// eventsByKey gives what a request with these events made at its first time. Of
// an event that retention has dropped since, its key tells when that was.
func (s *Store) eventsByKey(t *tx, keys []int64, asked []tidings.NewEvent) ([]tidings.Event, error) {
	out := make([]tidings.Event, len(keys))
	for i, key := range keys {
		out[i] = tidings.Event{ID: s.ids.public(key), Type: asked[i].Type, IssuanceID: asked[i].IssuanceID, CreatedAt: fromMillis(timeOf(key)),
			Payload: tidings.EventPayload{OpenID4VCIssuanceID: asked[i].IssuanceID}}
		err := t.query("SELECT "+eventColumns+" FROM event e WHERE e.id = $1", []any{key}, func(r scanner) (err error) {
			out[i], err = s.scanEvent(r)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Event finds an event of the organisation.
func (s *Store) Event(ctx context.Context, org int64, id string) (tidings.Event, error) {
	key, ok := s.ids.key(id)
	if !ok {
		return tidings.Event{}, tidings.NotFound("event", id)
	}
	e, err := s.scanEvent(s.reads.row(ctx, "SELECT "+eventColumns+" FROM event e WHERE e.id = $1 AND e.organisation_id = $2", key, org))
	return e, notFound(err, "event", id)
}

// Events lists the organisation's events in the order of their commits, oldest
// first.
func (s *Store) Events(ctx context.Context, org int64, f tidings.EventFilter, p tidings.Page) (tidings.List[tidings.Event], error) {
	return list(ctx, s, selectEvents(org, f), p, func(id string) (int64, error) { return s.eventPosition(ctx, org, id) }, s.scanEvent)
}

func selectEvents(org int64, f tidings.EventFilter) listQuery {
	q := listQuery{table: "event e", columns: eventColumns, order: "e.position"}
	q.add("e.organisation_id = $", org)
	if f.IssuanceID != "" {
		q.order = "e.id"
		q.add("e.issuance_id = $", f.IssuanceID)
	}
	if f.Type != "" {
		q.add("e.type = $", string(f.Type.Canonical()))
	}
	if !f.Since.IsZero() {
		// A key, and so a position, is never older than its time; it is younger
		// where the clock was set back.
		q.from = keyAt(f.Since.UnixMilli())
		q.add("e.created_at >= $", f.Since.UnixMilli())
	}
	return q
}

// LastEvent gives the id of the organisation's newest event, empty if it has
// none.
func (s *Store) LastEvent(ctx context.Context, org int64) (string, error) {
	var key int64
	err := s.queryRow(ctx, "SELECT id FROM event WHERE organisation_id = $1 ORDER BY position DESC LIMIT 1", []any{org}, &key)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return s.ids.public(key), err
}

// Changed gives a channel that is closed when the next event is committed.
func (s *Store) Changed() <-chan struct{} { return *s.w.changed.Load() }

// eventPosition gives the place in the feed of an event. One that retention has
// deleted still has its place, so that a reader who was away for long goes on
// where it was; another organisation's has none.
func (s *Store) eventPosition(ctx context.Context, org int64, id string) (position int64, err error) {
	key, ok := s.ids.key(id)
	if !ok {
		return 0, tidings.NotFound("event", id)
	}
	var owner int64
	err = s.queryRow(ctx, "SELECT position, organisation_id FROM event WHERE id = $1", []any{key}, &position, &owner)
	if errors.Is(err, sql.ErrNoRows) {
		return key, nil // with one writer the key is the position
	}
	if err == nil && owner != org {
		err = tidings.NotFound("event", id)
	}
	return position, err
}

func splitTypes(text string) []tidings.EventType {
	var out []tidings.EventType
	for name := range strings.FieldsSeq(text) {
		out = append(out, tidings.EventType(name))
	}
	return out
}

func joinTypes(types []tidings.EventType) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return strings.Join(names, " ")
}

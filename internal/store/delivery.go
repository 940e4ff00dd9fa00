package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"

	"tidings"
)

// Pending deliveries stand in the queue, ended ones in the history. Both are
// read in order of key and merged.
const (
	queueJoin      = " CROSS JOIN event e ON e.id = q.event_id CROSS JOIN endpoint p ON p.id = q.endpoint_id"
	queueColumns   = "q.id, q.event_id, p.public_id, e.type, e.issuance_id, 'pending', '', q.attempt_count, q.due, q.retry_of, q.created_at, NULL"
	historyJoin    = " CROSS JOIN event e ON e.id = d.event_id CROSS JOIN endpoint p ON p.id = d.endpoint_id"
	historyColumns = "d.id, d.event_id, p.public_id, e.type, e.issuance_id, d.status, d.reason, d.attempt_count, NULL, d.retry_of, d.created_at, d.ended_at"
)

// keyedDelivery keeps the key that the two streams are merged by.
type keyedDelivery struct {
	key int64
	tidings.Delivery
}

func (s *Store) scanDelivery(r scanner) (d keyedDelivery, err error) {
	var event, retryOf, created int64
	var due, ended nullable
	err = r.Scan(&d.key, &event, &d.EndpointID, &d.EventType, &d.IssuanceID, &d.Status, &d.Reason, &d.AttemptCount, &due, &retryOf, &created, &ended)
	d.ID, d.EventID, d.CreatedAt = s.ids.public(d.key), s.ids.public(event), fromMillis(created)
	d.NextAttemptAt, d.EndedAt = due.pointer(), ended.pointer()
	if retryOf != 0 {
		d.RetryOf = s.ids.public(retryOf)
	}
	return d, err
}

// queuedByKey finds a pending delivery, see [laneOfQueued].
const queuedByKey = "SELECT " + queueColumns + " FROM queue q" + queueJoin + " WHERE q.id = $2 AND q.endpoint_id = (" + laneOfQueued + ")"

// Delivery finds a delivery of the organisation, with its attempts.
func (s *Store) Delivery(ctx context.Context, org int64, id string) (tidings.Delivery, error) {
	key, ok := s.ids.key(id)
	if !ok {
		return tidings.Delivery{}, tidings.NotFound("delivery", id)
	}
	// The queue is asked first: a delivery that ends between the two questions
	// is then found in the history.
	d, err := s.scanDelivery(s.reads.row(ctx, queuedByKey, org, key))
	if errors.Is(err, sql.ErrNoRows) {
		d, err = s.scanDelivery(s.reads.row(ctx, "SELECT "+historyColumns+" FROM delivery d"+historyJoin+
			" WHERE d.id = $1 AND d.organisation_id = $2", key, org))
	}
	if err != nil {
		return tidings.Delivery{}, notFound(err, "delivery", id)
	}
	d.Attempts, err = s.attempts(ctx, key)
	return d.Delivery, err
}

func (s *Store) attempts(ctx context.Context, delivery int64) (out []tidings.Attempt, err error) {
	err = s.query(ctx, `SELECT number, started_at, duration_us, dns_us, connect_us, tls_us, wait_us, status_code, error_code, error, response_excerpt
		FROM attempt WHERE delivery_id = $1 ORDER BY number`, []any{delivery}, func(r scanner) error {
		var a tidings.Attempt
		var started, micros, dns, connect, tls, wait int64
		err := r.Scan(&a.Number, &started, &micros, &dns, &connect, &tls, &wait, &a.StatusCode, &a.ErrorCode, &a.Error, &a.ResponseExcerpt)
		a.StartedAt, a.Duration = fromMillis(started), fromMicros(micros)
		a.Timing = tidings.Timing{DNS: fromMicros(dns), Connect: fromMicros(connect), TLS: fromMicros(tls), Wait: fromMicros(wait)}
		out = append(out, a)
		return err
	})
	return out, err
}

// Deliveries lists the organisation's deliveries, newest first.
func (s *Store) Deliveries(ctx context.Context, org int64, f tidings.DeliveryFilter, p tidings.Page) (out tidings.List[tidings.Delivery], err error) {
	at, backwards, err := cursor(p, s.byKey("delivery"))
	if err != nil {
		return out, err
	}
	sel, err := s.selectDeliveries(ctx, org, f)
	if err != nil || sel.none {
		return out, err
	}
	// The queue is read before the history, so that what ends in between is
	// found at least once.
	var found []keyedDelivery
	for _, q := range append(sel.queue, sel.history...) {
		text, args := q.text(at, backwards, p.Limit())
		err = s.query(ctx, text, args, func(r scanner) error {
			d, err := s.scanDelivery(r)
			found = append(found, d)
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return cut(mergeDeliveries(found, backwards, p.Limit()), at != 0, backwards, p.Limit()), nil
}

// mergeDeliveries brings what several ordered reads gave into one order. A
// delivery that ended between two reads stands in both; its end is the newer.
func mergeDeliveries(found []keyedDelivery, backwards bool, limit int) []tidings.Delivery {
	slices.SortStableFunc(found, func(a, b keyedDelivery) int {
		if backwards {
			return cmp.Compare(a.key, b.key)
		}
		return cmp.Compare(b.key, a.key)
	})
	var out []tidings.Delivery
	for i, d := range found {
		if i+1 < len(found) && found[i+1].key == d.key {
			continue
		}
		if out = append(out, d.Delivery); len(out) > limit {
			break
		}
	}
	return out
}

// deliverySelection is a filter turned into queries, each of which walks one
// index in order of key.
type deliverySelection struct {
	none           bool // nothing can match
	queue, history []listQuery
}

func (s *Store) selectDeliveries(ctx context.Context, org int64, f tidings.DeliveryFilter) (sel deliverySelection, err error) {
	queue := listQuery{table: "queue q" + queueJoin, columns: queueColumns, order: "q.id", newest: true}
	if f.EventType != "" {
		queue.add("q.kind = $", kind(tidings.DeliveryPending, f.EventType.Canonical()))
	}
	history := listQuery{table: "delivery d ON d.id = found.id" + historyJoin, columns: historyColumns, order: "d.id", newest: true, merge: &merge{table: "delivery d"}}
	for _, k := range endedKinds(f.Status, f.EventType) {
		history.merge.ranges = append(history.merge.ranges, "d.kind = "+strconv.Itoa(k))
	}
	switch {
	case f.EventID != "" || f.IssuanceID != "":
		sel, err = s.selectByIssuance(ctx, queue, org, f)
	case f.EndpointID != "":
		sel, err = s.selectByEndpoint(ctx, queue, history, org, f.EndpointID)
	default:
		sel, err = s.selectByOrganisation(ctx, queue, history, org)
	}
	if f.Status == tidings.DeliveryPending {
		sel.history = nil
	} else if f.Status != "" {
		sel.queue = nil
	}
	return sel, err
}

// selectByIssuance narrows to the events of an issuance, or to one event.
func (s *Store) selectByIssuance(ctx context.Context, queue listQuery, org int64, f tidings.DeliveryFilter) (sel deliverySelection, err error) {
	// The plus keeps the database from walking all deliveries in their order until
	// it has met the few that there are.
	history := listQuery{table: "delivery d" + historyJoin, columns: historyColumns, order: "+d.id", newest: true}
	issuance := f.IssuanceID
	if f.EventID != "" {
		e, err := s.Event(ctx, org, f.EventID)
		if tidings.KindOf(err) == tidings.KindNotFound || err == nil && issuance != "" && issuance != e.IssuanceID {
			return deliverySelection{none: true}, nil
		}
		if err != nil {
			return sel, err
		}
		key, _ := s.ids.key(f.EventID)
		issuance = e.IssuanceID
		queue.add("q.event_id = $", key)
		history.add("d.event_id = $", key)
	} else {
		events := "(SELECT id FROM event WHERE organisation_id = " + strconv.FormatInt(org, 10) + " AND issuance_id = $)"
		history.add("d.event_id IN "+events, issuance)
	}
	queue.add("q.issuance_key = $", issuanceKey(issuance))
	if f.EventType != "" {
		history.add("e.type = $", string(f.EventType.Canonical()))
	}
	if f.Status != "" {
		history.add("d.status = $", string(f.Status))
	}
	for _, q := range []*listQuery{&queue, &history} {
		q.add("e.issuance_id = $", issuance)
		q.add("e.organisation_id = $", org)
		if f.EndpointID != "" {
			q.add("p.public_id = $", f.EndpointID)
		}
	}
	return deliverySelection{queue: []listQuery{queue}, history: []listQuery{history}}, nil
}

// selectByEndpoint reads one endpoint; several where an id was used again after
// a delete.
func (s *Store) selectByEndpoint(ctx context.Context, queue, history listQuery, org int64, id string) (sel deliverySelection, err error) {
	keys, err := s.keysOf(ctx, "SELECT id FROM endpoint WHERE organisation_id = $1 AND public_id = $2", org, id)
	return deliverySelection{none: len(keys) == 0, queue: perLane(queue, "q", keys), history: perLane(history, "d", keys)}, err
}

// selectByOrganisation reads the queues of the lanes that have one, and the
// history as a whole.
func (s *Store) selectByOrganisation(ctx context.Context, queue, history listQuery, org int64) (sel deliverySelection, err error) {
	busy, err := s.keysOf(ctx, "SELECT endpoint_id FROM lane WHERE organisation_id = $1 AND backlog > 0", org)
	history.add("d.organisation_id = $", org)
	return deliverySelection{queue: perLane(queue, "q", busy), history: []listQuery{history}}, err
}

// perLane makes a query for each lane of a table.
func perLane(q listQuery, table string, lanes []int64) []listQuery {
	out := make([]listQuery, len(lanes))
	for i, lane := range lanes {
		out[i] = q
		out[i].args, out[i].where = slices.Clone(q.args), slices.Clone(q.where)
		out[i].add(table+".endpoint_id = $", lane)
	}
	return out
}

// keysOf reads a column of keys.
func (s *Store) keysOf(ctx context.Context, query string, args ...any) (out []int64, err error) {
	err = s.query(ctx, query, args, func(r scanner) error {
		var key int64
		err := r.Scan(&key)
		out = append(out, key)
		return err
	})
	return out, err
}

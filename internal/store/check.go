package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// invariants hold in every store at every moment; each query finds what breaks
// one: a key, and a number that says more. :now stands for the time, :late for
// the time before which nothing may be due any more.
var invariants = []struct{ sentence, query string }{
	{"event %[1]s was accepted for %[2]d deliveries, but has another number", `
		SELECT e.id, e.fanout FROM event e
		LEFT JOIN (SELECT event_id, count(*) AS pending FROM queue WHERE retry_of = 0 GROUP BY event_id) q ON q.event_id = e.id
		WHERE e.fanout <> COALESCE(q.pending, 0) + (SELECT count(*) FROM delivery d WHERE d.event_id = e.id AND d.retry_of = 0)
			+ COALESCE((SELECT x.remaining FROM expansion x WHERE x.organisation_id = e.organisation_id AND x.event_id = e.id), 0)`},
	{"the deliveries of event %[1]s are not made: nothing was done about them for %[2]d ms", `
		SELECT x.event_id, :now - x.moved_at FROM expansion x WHERE x.moved_at < :late
		AND NOT EXISTS (SELECT 1 FROM expansion y WHERE y.organisation_id = x.organisation_id AND y.event_id < x.event_id)`},
	{"event %[1]s waits for deliveries, but is not there, has none left or goes to nobody", `
		SELECT x.event_id, 0 FROM expansion x LEFT JOIN event e ON e.id = x.event_id LEFT JOIN audience a ON a.id = x.audience_id
		WHERE e.id IS NULL OR a.id IS NULL OR x.remaining < 1`},
	{"delivery %[1]s is pending and ended at the same time", `
		SELECT q.id, 0 FROM queue q JOIN delivery d ON d.id = q.id`},
	{"delivery %[1]s is due for %[2]d ms and forgotten", `
		SELECT q.id, :now - q.due FROM lane l JOIN endpoint p ON p.id = l.endpoint_id JOIN queue q ON q.endpoint_id = l.endpoint_id
		WHERE q.due < :late AND p.status = 'enabled' AND p.deleted_at IS NULL AND l.failures < 5
			AND COALESCE(l.paused_until, 0) < :late AND COALESCE(l.last_failure_at, 0) < :late`}, // what waits behind attempts that hang is not forgotten
	{"delivery %[1]s is pending of an event that does not exist", `
		SELECT q.id, 0 FROM queue q LEFT JOIN event e ON e.id = q.event_id WHERE e.id IS NULL`},
	{"delivery %[1]s ended in no legal state after %[2]d attempts", `
		SELECT d.id, d.attempt_count FROM delivery d WHERE d.status NOT IN ('delivered', 'failed', 'canceled')
		OR (d.status = 'delivered') <> (d.reason = '') OR d.status = 'delivered' AND d.attempt_count = 0`},
	{"delivery %[1]s is listed as of kind %[2]d, but is of another", `
		SELECT d.id, d.kind FROM delivery d WHERE d.kind / 100 <> CASE d.status WHEN 'delivered' THEN 1 WHEN 'failed' THEN 2 ELSE 3 END OR d.kind % 100 = 0`},
	{"delivery %[1]s is pending, but listed as of kind %[2]d", `
		SELECT q.id, q.kind FROM queue q WHERE q.kind NOT BETWEEN 1 AND 99`},
	{"delivery %[1]s has %[2]d attempts on record, but another count", `
		SELECT d.id, (SELECT count(*) FROM attempt a WHERE a.delivery_id = d.id) FROM delivery d
		WHERE d.attempt_count <> (SELECT count(*) FROM attempt a WHERE a.delivery_id = d.id)`},
	{"the lane of endpoint %[1]s counts %[2]d pending deliveries, but has another number", `
		SELECT l.endpoint_id, l.backlog FROM lane l WHERE l.backlog <> (SELECT count(*) FROM queue q WHERE q.endpoint_id = l.endpoint_id)`},
	{"endpoint %[1]s has no lane or no secret", `
		SELECT p.id, 0 FROM endpoint p WHERE NOT EXISTS (SELECT 1 FROM lane l WHERE l.endpoint_id = p.id)
		OR p.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM signing_secret s WHERE s.endpoint_id = p.id)`},
	{"issuance %[1]s is in no legal state", `
		SELECT i.id, 0 FROM issuance i WHERE i.state NOT IN ('offered', 'redeemed', 'deferred', 'delivered', 'completed', 'failed', 'expired')
		OR (i.deadline IS NULL) <> (i.state IN ('completed', 'failed', 'expired')) OR (i.state = 'failed') <> (i.error_code <> '')`},
	{"issuance %[1]s or a credential of it is listed with another status than it has", `
		SELECT i.id, 0 FROM issuance i WHERE i.status <> CASE WHEN i.state = 'redeemed'
			AND EXISTS (SELECT 1 FROM credential c WHERE c.issuance_id = i.id AND c.status <> 'offered') THEN 'partiallyIssued'
			WHEN i.state IN ('redeemed', 'deferred', 'delivered') THEN 'offered' ELSE i.state END
		OR EXISTS (SELECT 1 FROM credential c WHERE c.issuance_id = i.id AND c.issuance_status <> i.status)`},
	{"issuance %[1]s keeps the claims of %[2]d credentials, but its end says otherwise", `
		SELECT i.id, (SELECT count(*) FROM credential c WHERE c.issuance_id = i.id AND c.claims <> '') FROM issuance i
		WHERE i.claims_since IS NOT NULL AND i.state NOT IN ('completed', 'failed', 'expired') OR EXISTS (SELECT 1 FROM credential c
			WHERE c.issuance_id = i.id AND (c.claims = '') <> (i.state IN ('completed', 'failed', 'expired') AND i.claims_since IS NULL))`},
	{"issuance %[1]s keeps its claims %[2]d ms longer than it should", `
		SELECT i.id, :now - i.claims_since - k.value FROM issuance i JOIN counter k ON k.name = 'claims_kept' AND k.value > 0
		WHERE i.claims_since + k.value < :late - 3600000`},
	{"credential %[1]s has the value %[2]d in a status list, but another state", `
		SELECT e.credential_id, e.value FROM status_entry e JOIN credential c ON c.id = e.credential_id
		WHERE e.value <> CASE c.status WHEN 'revoked' THEN 1 WHEN 'suspended' THEN 2 ELSE 0 END`},
	{"issuance %[1]s passed its deadline %[2]d ms ago and nothing happened", `
		SELECT i.id, :now - i.deadline FROM issuance i WHERE i.deadline < :late`},
}

// dueGrace is for how long something may be due before it counts as forgotten; on
// PostgreSQL a node that died leaves it to others when its lease has run out, and they
// need an attempt for it, which is shorter than a lease.
const dueGrace = 30 * time.Second

func (s *Store) dueGrace() time.Duration {
	if s.w.remote {
		return dueGrace + 2*s.lease
	}
	return dueGrace
}

// Check proves the store's invariants on one snapshot, beside a running server
// too, and gives a sentence for each breach, at most limit of each sort.
func (s *Store) Check(ctx context.Context, limit int) (breaches []string, err error) {
	snapshot, integrity, err := s.db.moment(ctx, s.reads.db)
	if err != nil {
		return nil, err
	}
	defer snapshot.Rollback()
	if integrity != "ok" {
		breaches = append(breaches, "the database file is damaged: "+integrity)
	}
	now := s.now().UnixMilli()
	times := strings.NewReplacer(":now", strconv.FormatInt(now, 10), ":late", strconv.FormatInt(now-s.dueGrace().Milliseconds(), 10))
	for _, rule := range invariants {
		rows, err := snapshot.QueryContext(ctx, times.Replace(rule.query)+" LIMIT "+strconv.Itoa(limit))
		if err != nil {
			return breaches, fmt.Errorf("checking that no %q: %w", rule.sentence, err)
		}
		err = eachRow(rows, func(r scanner) error {
			var key, number int64
			if err := r.Scan(&key, &number); err != nil {
				return err
			}
			breaches = append(breaches, fmt.Sprintf(rule.sentence, s.ids.public(key), number))
			return nil
		})
		if err != nil {
			return breaches, err
		}
	}
	more, err := s.checkEndings(ctx, snapshot, limit)
	return append(breaches, more...), err
}

// storyOf finds the events of an issuance. It does not group them: that would
// have SQLite walk an index of all events by their type.
const storyOf = "SELECT type FROM event WHERE organisation_id = $1 AND issuance_id = $2"

// checkEndings proves that each issuance told its story: "offered", and one
// terminal event exactly when it has ended. Its events are found by the id
// that they carry, which only the program can compute. Those that are older than
// the retention time may be gone.
func (s *Store) checkEndings(ctx context.Context, snapshot *sql.Tx, limit int) (breaches []string, err error) {
	var gone int64
	if err := snapshot.QueryRowContext(ctx, retainedOf).Scan(&gone); err != nil {
		return nil, err
	}
	story, err := snapshot.PrepareContext(ctx, s.db.bind(storyOf))
	if err != nil {
		return nil, err
	}
	defer story.Close()
	for last := int64(0); ; {
		some, err := storiesFrom(ctx, snapshot, s.db.bind(issuancesFrom), last)
		if err != nil || len(some) == 0 {
			return breaches, err
		}
		for _, i := range some {
			id := s.ids.public(i.key)
			told := map[tidings.EventType]int{}
			events, err := story.QueryContext(ctx, i.org, id)
			if err != nil {
				return breaches, err
			}
			err = eachRow(events, func(r scanner) error {
				var typ tidings.EventType
				err := r.Scan(&typ)
				told[typ]++
				return err
			})
			if err != nil {
				return breaches, err
			}
			if text := untrue(i.state, told, i.key <= gone, keyAt(i.updated) <= gone); text != "" && len(breaches) < limit {
				breaches = append(breaches, "issuance "+id+" "+text)
			}
			last = i.key
		}
	}
}

// issuancesFrom reads the issuances in pieces: one connection of PostgreSQL
// cannot read the next answer before the first is at its end.
const issuancesFrom = "SELECT id, organisation_id, state, updated_at FROM issuance WHERE id > $1 ORDER BY id LIMIT 1000"

type checkedIssuance struct {
	key, org, updated int64
	state             tidings.IssuanceState
}

func storiesFrom(ctx context.Context, snapshot *sql.Tx, query string, last int64) (out []checkedIssuance, err error) {
	rows, err := snapshot.QueryContext(ctx, query, last)
	if err != nil {
		return nil, err
	}
	err = eachRow(rows, func(r scanner) error {
		var i checkedIssuance
		err := r.Scan(&i.key, &i.org, &i.state, &i.updated)
		out = append(out, i)
		return err
	})
	return out, err
}

// untrue says how the events of an issuance in a state do not tell its story;
// empty if they do. Its first or its last event may be forgotten.
func untrue(state tidings.IssuanceState, told map[tidings.EventType]int, firstForgotten, lastForgotten bool) string {
	ending := map[tidings.IssuanceState]tidings.EventType{
		tidings.StateCompleted: tidings.IssuanceCompleted, tidings.StateFailed: tidings.IssuanceFailed, tidings.StateExpired: tidings.IssuanceExpired,
	}[state]
	for _, typ := range []tidings.EventType{tidings.IssuanceCompleted, tidings.IssuanceFailed, tidings.IssuanceExpired} {
		want := 0
		if typ == ending {
			want = 1
		}
		if n := told[typ]; n != want && !(lastForgotten && n == 0) {
			return fmt.Sprintf("is %s, but told %q %d times", state, typ, told[typ])
		}
	}
	if n := told[tidings.IssuanceOffered]; n != 1 && !(firstForgotten && n == 0) {
		return fmt.Sprintf("told %q %d times", tidings.IssuanceOffered, told[tidings.IssuanceOffered])
	}
	return ""
}

package store

import (
	"errors"
	"strconv"
	"strings"

	"tidings"
)

// bulk collects the rows of events that come in and of deliveries that end well,
// all that a batch has of them, so that one statement writes many: each costs
// more than the rows. What else a batch does is done one by one, after what was
// collected until then.
type bulk struct {
	ended      rows // of queue, to be deleted
	deliveries rows
	attempts   rows
	events     rows
	expansions rows
	queue      rows
	issuances  issuanceRows
}

func (b *bulk) reset() {
	b.ended.reset()
	for _, c := range b.collected() {
		c.rows.reset()
	}
}

// collected are rows with the statement that writes them.
type collected struct {
	statement bulkStatement
	rows      *rows
}

// collected gives all but what has ended, in the order in which it is to be written.
func (b *bulk) collected() []collected {
	return append([]collected{{insertDeliveries, &b.deliveries}, {insertAttempts, &b.attempts}, {insertEvents, &b.events}, {insertExpansions, &b.expansions}, {insertQueue, &b.queue}}, b.issuances.collected()...)
}

// rows are the arguments of rows for one table, one after the other.
type rows struct{ args []any }

func (r *rows) reset() {
	clear(r.args)
	r.args = r.args[:0]
}

func (r *rows) add(args ...any) { r.args = append(r.args, args...) }

// bulkStatement is a statement for any number of rows: what stands before and
// behind them, and the types of their columns, a letter each: i for an integer,
// t for text, b for bytes.
type bulkStatement struct {
	before, behind, types string
	cast                  bool   // the first row says of what type its columns are
	columns               string // not empty: the statement on PostgreSQL, in which :rows is a table of the rows
	arrays                bool   // on PostgreSQL one row comes as arrays, too: what it is would not be clear
	single                string // not empty: the statement for one row, which SQLite does one after the other as fast
	exact                 bool   // there is a single statement, and each row changes exactly one of the table
}

// insertInto makes the statement that inserts rows.
func insertInto(table, columns, types string) bulkStatement {
	return bulkStatement{before: "INSERT INTO " + table + " (" + columns + ") ", types: types}
}

var heldRetries = strconv.Itoa(tidings.HeldRetries)

var (
	insertEvents     = insertInto("event", "id, organisation_id, position, issuance_key, issuance_id, type, body, fanout, test, created_at", "iiiittbiii")
	insertExpansions = insertInto("expansion", "organisation_id, event_id, issuance_key, audience_id, cursor, remaining, moved_at", "iiiiiii")
	insertQueue      = insertInto("queue", "endpoint_id, due, id, event_id, issuance_key, attempt_count, retry_of, created_at, kind", "iiiiiiiii")
	insertDeliveries = insertInto("delivery", "id, organisation_id, endpoint_id, event_id, status, reason, attempt_count, retry_of, created_at, ended_at, kind, late", "iiiittiiiiii")
	insertAttempts   = insertInto("attempt", "delivery_id, number, started_at, duration_us, dns_us, connect_us, tls_us, wait_us, status_code, error_code, error, response_excerpt", "iiiiiiiiittb")

	deleteEnded = bulkStatement{before: "DELETE FROM queue WHERE (endpoint_id, due, id) IN (", behind: ")", types: "iii", cast: true,
		// Row by row, as an index finds each: a join would walk the whole queue where
		// the statistics are of a time when it was empty.
		columns: "DELETE FROM queue WHERE ctid = ANY (ARRAY(SELECT (SELECT q.ctid FROM queue q WHERE q.endpoint_id = v.endpoint AND q.due = v.due AND q.id = v.id) FROM :rows AS v (endpoint, due, id)))"}
	countLanes = bulkStatement{before: "WITH v (endpoint, change) AS (", types: "ii", cast: true,
		behind: ") UPDATE lane SET backlog = backlog + v.change FROM v WHERE lane.endpoint_id = v.endpoint"}
	deleteAttempts   = bulkStatement{before: "DELETE FROM attempt WHERE delivery_id IN (", behind: ")", types: "i", cast: true}
	deleteDeliveries = bulkStatement{before: "DELETE FROM delivery WHERE id IN (", behind: ") RETURNING event_id, retry_of", types: "i", cast: true}
	countOff         = bulkStatement{before: "WITH v (event, gone) AS (", types: "ii", cast: true, behind: ") UPDATE event SET fanout = fanout - v.gone FROM v WHERE event.id = v.event"}
	dropManyEvents   = bulkStatement{before: "DELETE FROM event WHERE id IN (", behind: ")" + unnamed, types: "i", cast: true}
	issuancesWaiting = bulkStatement{before: "WITH v (issuance) AS (", types: "i", cast: true,
		behind: ") SELECT v.issuance FROM v WHERE (SELECT 1 FROM queue WHERE issuance_key = v.issuance LIMIT 1) = 1"}
	// The pluses keep the database from walking the endpoint's queue and history.
	stillMissing = bulkStatement{before: "WITH v (issuance, endpoint, event) AS (", types: "iii", cast: true,
		behind: `) SELECT v.event FROM v WHERE (SELECT 1 FROM event e WHERE e.id = v.event) = 1
			AND (SELECT 1 FROM queue q WHERE q.issuance_key = v.issuance AND +q.endpoint_id = v.endpoint AND q.event_id = v.event LIMIT 1) IS NULL
			AND (SELECT 1 FROM delivery d WHERE d.event_id = v.event AND +d.endpoint_id = v.endpoint AND d.status = 'delivered' LIMIT 1) IS NULL`}
	issuancesExpanding = bulkStatement{before: "WITH x (issuance) AS (", types: "i", cast: true,
		behind: ") SELECT x.issuance FROM x WHERE (SELECT 1 FROM expansion WHERE issuance_key = x.issuance LIMIT 1) = 1"}
	eventsToSend = bulkStatement{before: "SELECT id, type, body, created_at FROM event WHERE id IN (", behind: ")", types: "i", cast: true,
		columns: "SELECT id, type, body, created_at FROM event WHERE id = ANY (ARRAY(SELECT * FROM :rows))"}
	heldWithin = bulkStatement{before: "WITH v (issuance, first, last) AS (", types: "iii", cast: true,
		behind: ") SELECT q.issuance_key, q.endpoint_id, q.due FROM v CROSS JOIN queue q ON q.issuance_key = v.issuance AND q.endpoint_id >= v.first AND q.endpoint_id <= v.last WHERE q.attempt_count <= " + heldRetries,
		// Row by row, too: the OFFSET keeps PostgreSQL from joining in another order.
		columns: "SELECT q.* FROM :rows AS v (issuance, first, last), LATERAL (SELECT issuance_key, endpoint_id, due FROM queue WHERE issuance_key = v.issuance AND endpoint_id >= v.first AND endpoint_id <= v.last AND attempt_count <= " + heldRetries + " OFFSET 0) AS q"}
	fanoutsOf = bulkStatement{before: "WITH v (organisation) AS (", types: "i", cast: true,
		behind: ") SELECT v.organisation, p.id, p.filter_types FROM v CROSS JOIN endpoint p ON p.organisation_id = v.organisation AND p.deleted_at IS NULL ORDER BY p.id"}
)

// bulkSizes are the numbers of rows for which there are statements. Few, as each
// stays prepared.
var bulkSizes = [...]int{64, 16, 4, 2, 1}

// text is the statement for n rows.
func (s bulkStatement) text(n int) string {
	var b strings.Builder
	b.WriteString(s.before + "VALUES ")
	columns := len(s.types)
	for i := range n * columns {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		if s.cast && i < columns {
			b.WriteString("CAST($" + strconv.Itoa(i+1) + " AS BIGINT)")
		} else {
			b.WriteString("$" + strconv.Itoa(i+1))
		}
	}
	return b.String() + ")" + s.behind
}

// bulkTexts are the texts of all sizes.
var bulkTexts = func() map[string][len(bulkSizes)]string {
	all := map[string][len(bulkSizes)]string{}
	for _, s := range []bulkStatement{insertEvents, insertQueue, insertDeliveries, insertAttempts, deleteEnded, countLanes, issuancesWaiting, issuancesExpanding, eventsToSend, heldWithin, insertExpansions, stillMissing, fanoutsOf,
		deleteAttempts, deleteDeliveries, countOff, dropManyEvents, issuancesOfSteps, noncesUsed, insertNonces, insertIssuances, insertCredentials, insertNotifications, requestsMade, insertRequests} {
		var texts [len(bulkSizes)]string
		for i, n := range bulkSizes {
			texts[i] = s.text(n)
		}
		all[s.before] = texts
	}
	return all
}()

// eachPiece gives the statements, with their arguments, that together do s for
// all rows.
func (t *tx) eachPiece(s bulkStatement, r *rows, do func(text string, args []any) error) error {
	defer r.reset()
	args, texts, columns := r.args, bulkTexts[s.before], len(s.types)
	if len(args) > 0 && t.w.remote && (len(args) > columns || s.arrays) {
		return do(s.byColumn(), columnsOf(s.types, args))
	}
	for i, n := range bulkSizes {
		if s.single != "" {
			n, texts[i] = 1, s.single
		}
		for len(args) >= n*columns {
			if err := do(texts[i], args[:n*columns]); err != nil {
				return err
			}
			args = args[n*columns:]
		}
	}
	return nil
}

// writeRows runs a statement over rows.
func (t *tx) writeRows(s bulkStatement, r *rows) error {
	return t.eachPiece(s, r, func(text string, args []any) error {
		before, want := t.rows, int64(anyNumber)
		if s.exact && t.w.remote {
			want = int64(len(r.args) / len(s.types))
		} else if s.exact {
			want = 1
		}
		err := t.expect(want, text, args...)
		if err == nil {
			t.rows = before // they were counted when they were collected
		}
		return err
	})
}

// readRows runs a query over rows, and hands each that it gives to scan.
func (t *tx) readRows(s bulkStatement, r *rows, scan func(scanner) error) error {
	return t.eachPiece(s, r, func(text string, args []any) error { return t.query(text, args, scan) })
}

// settle writes what is collected. Where not all of it can be written, the batch
// has to be run item by item.
func (t *tx) settle() error {
	b := &t.w.bulk
	ended, deleted := len(b.ended.args)/len(deleteEnded.types), 0
	err := t.eachPiece(deleteEnded, &b.ended, func(text string, args []any) error {
		if t.w.remote { // one that did not fit is found when it is sent
			deleted = ended
			err := t.expect(int64(ended), text, args...)
			t.rows += ended - 1
			return err
		}
		n, err := t.exec(text, args...)
		deleted += int(n)
		return err
	})
	t.rows -= deleted // they were counted when they were collected
	if err == nil && deleted != ended {
		return errIsolate // something was canceled, or is due at another time
	}
	for _, c := range b.collected() {
		if err == nil {
			err = t.writeRows(c.statement, c.rows)
		}
	}
	clear(t.known.collected)
	if err != nil && judge(err) <= faultRow {
		return errors.Join(errIsolate, err)
	}
	return err
}

// oneByOne has the rest of an item done one by one, after what is collected.
func (t *tx) oneByOne() error {
	t.direct = true
	return t.settle()
}

// put writes a row, or collects it.
func (t *tx) put(s bulkStatement, into *rows, args ...any) error {
	into.add(args...)
	t.rows++
	if t.direct {
		return t.writeRows(s, into)
	}
	return nil
}

// endedWell tells whether a result only ends a delivery, and changes nothing
// else of its lane.
func endedWell(r *tidings.AttemptResult) bool {
	return r.Status == tidings.DeliveryDelivered && r.Health == nil && !r.Failing && r.Disable == ""
}

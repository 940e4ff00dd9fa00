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
	queue      rows
}

func (b *bulk) reset() {
	for _, r := range []*rows{&b.ended, &b.deliveries, &b.attempts, &b.events, &b.queue} {
		r.reset()
	}
}

// rows are the arguments of rows for one table, one after the other.
type rows struct{ args []any }

func (r *rows) reset() {
	clear(r.args)
	r.args = r.args[:0]
}

func (r *rows) add(args ...any) { r.args = append(r.args, args...) }

// bulkStatement is a statement for any number of rows: what stands before and
// behind them, and the columns of one.
type bulkStatement struct {
	before, behind string
	columns        int
	cast           bool // the first row says of what type its columns are
}

// insertInto makes the statement that inserts rows.
func insertInto(table, columns string) bulkStatement {
	return bulkStatement{before: "INSERT INTO " + table + " (" + columns + ") VALUES ", columns: strings.Count(columns, ",") + 1}
}

var (
	insertEvents     = insertInto("event", "id, organisation_id, position, issuance_key, issuance_id, type, body, fanout, test, created_at")
	insertQueue      = insertInto("queue", "endpoint_id, due, id, event_id, issuance_key, attempt_count, retry_of, created_at, kind")
	insertDeliveries = insertInto("delivery", "id, organisation_id, endpoint_id, event_id, status, reason, attempt_count, retry_of, created_at, ended_at, kind, late")
	insertAttempts   = insertInto("attempt", "delivery_id, number, started_at, duration_us, dns_us, connect_us, tls_us, wait_us, status_code, error_code, error, response_excerpt")

	deleteEnded = bulkStatement{before: "DELETE FROM queue WHERE (endpoint_id, due, id) IN (VALUES ", behind: ")", columns: 3, cast: true}
	countLanes  = bulkStatement{before: "WITH v (endpoint, change) AS (VALUES ", columns: 2, cast: true,
		behind: ") UPDATE lane SET backlog = backlog + v.change FROM v WHERE lane.endpoint_id = v.endpoint"}
)

// bulkSizes are the numbers of rows for which there are statements. Few, as each
// stays prepared.
var bulkSizes = [...]int{64, 16, 4, 1}

// text is the statement for n rows.
func (s bulkStatement) text(n int) string {
	var b strings.Builder
	b.WriteString(s.before)
	for i := range n * s.columns {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%s.columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		if s.cast && i < s.columns {
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
	for _, s := range []bulkStatement{insertEvents, insertQueue, insertDeliveries, insertAttempts, deleteEnded, countLanes} {
		var texts [len(bulkSizes)]string
		for i, n := range bulkSizes {
			texts[i] = s.text(n)
		}
		all[s.before] = texts
	}
	return all
}()

// writeRows runs a statement over rows, and tells how many it touched.
func (t *tx) writeRows(s bulkStatement, r *rows) (touched int, err error) {
	defer r.reset()
	args, texts := r.args, bulkTexts[s.before]
	for i, n := range bulkSizes {
		for len(args) >= n*s.columns {
			before := t.rows
			changed, err := t.exec(texts[i], args[:n*s.columns]...)
			if err != nil {
				return touched, err
			}
			t.rows = before // they were counted when they were collected
			touched, args = touched+int(changed), args[n*s.columns:]
		}
	}
	return touched, nil
}

// settle writes what is collected. Where not all of it can be written, the batch
// has to be run item by item.
func (t *tx) settle() error {
	b := &t.w.bulk
	ended := len(b.ended.args) / deleteEnded.columns
	deleted, err := t.writeRows(deleteEnded, &b.ended)
	if err == nil && deleted != ended {
		return errIsolate // something was canceled, or is due at another time
	}
	for _, w := range []struct {
		statement bulkStatement
		rows      *rows
	}{{insertDeliveries, &b.deliveries}, {insertAttempts, &b.attempts}, {insertEvents, &b.events}, {insertQueue, &b.queue}} {
		if err == nil {
			_, err = t.writeRows(w.statement, w.rows)
		}
	}
	if judge(err) == faultRow {
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
	if t.direct {
		_, err := t.exec(bulkTexts[s.before][len(bulkSizes)-1], args...)
		return err
	}
	into.add(args...)
	t.rows++
	return nil
}

// endedWell tells whether a result only ends a delivery, and changes nothing
// else of its lane.
func endedWell(r *tidings.AttemptResult) bool {
	return r.Status == tidings.DeliveryDelivered && r.Health == nil && !r.Failing && r.Disable == ""
}

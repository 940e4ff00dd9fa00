package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", to write history that would take hours to deliver
)

// historyEndpoints is how many endpoints the history belongs to, and the
// traffic goes to.
const historyEndpoints = 100

// history measures the same traffic on an empty store and on one with much
// delivered.
func history(ctx context.Context, b *run) (err error) {
	in, err := b.install(ctx, 1, historyEndpoints, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	measure := func() (t traffic, loop float64, err error) {
		loop, err = b.besideLoop(ctx, historyEndpoints, func() (err error) {
			t, err = in.publishFor(ctx, b.cfg.Sizes.Window, 1)
			return err
		})
		return t, loop, err
	}
	empty, loopBefore, err := measure()
	if err != nil {
		return err
	}
	if err := in.withHistory(ctx, b.cfg.Sizes.History); err != nil {
		return err
	}
	full, loop, err := measure()
	if err != nil {
		return err
	}
	b.add(Row{Scenario: "history-0", DeliveriesPerSecond: empty.perSecond, LoopPerSecond: loopBefore, Ratio: empty.perSecond / loopBefore, CPUMicrosPerEvent: empty.cpu, RSSMiB: empty.rss})
	row := Row{Scenario: fmt.Sprint("history-", b.cfg.Sizes.History), DeliveriesPerSecond: full.perSecond, LoopPerSecond: loop, Ratio: full.perSecond / loop,
		CPUMicrosPerEvent: full.cpu, RSSMiB: full.rss, Target: "ratio within 10 % of the one without history"}
	row.Met = row.Ratio >= 0.9*empty.perSecond/loopBefore
	b.add(row)
	return in.onRecord(ctx, 1000)
}

// withHistory stops the server, writes rows of history, and starts it again.
func (in *installation) withHistory(ctx context.Context, rows int) (err error) {
	if rows == 0 {
		return nil
	}
	if err := in.stop(); err != nil {
		return err
	}
	in.b.say("history: writing %d delivered rows", rows)
	if err := in.writeHistory(ctx, rows); err != nil {
		return fmt.Errorf("writing history: %w", err)
	}
	if err := in.start(ctx); err != nil {
		return err
	}
	in.tenants[0], err = in.first(ctx)
	return err
}

// Rows of a delivered event each, as the server writes them. $1 is the first
// key, $2 the number of the first row, $3 how many there are, $4 a time.
const (
	numbers   = "WITH RECURSIVE n(i) AS (SELECT $2 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2 + $3) "
	oldEvents = "INSERT INTO event (id, organisation_id, position, issuance_key, issuance_id, type, body, fanout, test, created_at) " + numbers + `
		SELECT $1 + i, (SELECT id FROM organisation LIMIT 1), $1 + i, i, 'old-' || i, 'openid4vc.issuance.completed',
		CAST('{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"old-' || i || '"}}' AS BLOB), 1, 0, $4 FROM n`
	oldDone = "INSERT INTO delivery (id, organisation_id, endpoint_id, event_id, status, reason, attempt_count, retry_of, created_at, ended_at) " + numbers + `
		SELECT $1 + i, (SELECT id FROM organisation LIMIT 1), p.id, $1 + i, 'delivered', '', 1, 0, $4, $4 FROM n
		CROSS JOIN numbered p ON p.number = i % (SELECT count(*) FROM numbered)`
	oldAttempt = "INSERT INTO attempt (delivery_id, number, started_at, duration_us, status_code, error_code, error, response_excerpt) " + numbers + `
		SELECT $1 + i, 1, $4, 1000, 204, '', '', NULL FROM n`
)

// writeHistory writes rows of delivered events into the store of a server that
// is stopped.
func (in *installation) writeHistory(ctx context.Context, rows int) error {
	db, err := sql.Open("sqlite", filepath.Join(in.data, "tidings.db")+"?_pragma=journal_mode(off)&_pragma=synchronous(off)&_pragma=cache_size(-262144)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TEMP TABLE numbered AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM endpoint"); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "CREATE INDEX numbers ON numbered (number, id)"); err != nil {
		return err
	}
	at := time.Now().Add(-24 * time.Hour).UnixMilli()
	first := keyAt(at)
	const step = 100_000
	for done := 0; done < rows; done += step {
		for _, statement := range []string{oldEvents, oldDone, oldAttempt} {
			if _, err := db.ExecContext(ctx, statement, first, done, min(step, rows-done), at); err != nil {
				return err
			}
		}
	}
	return nil
}

// keyAt is the first key of a time in epoch milliseconds, as the store makes
// them: 41 bits of milliseconds since 2025, 22 of node and counter.
func keyAt(ms int64) int64 {
	return (ms - time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()) << 22
}

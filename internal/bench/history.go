package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
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
	measure := func() (t traffic, loop pace, err error) {
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
	b.add(Row{Scenario: "history-0", DeliveriesPerSecond: empty.perSecond, LoopPerSecond: loopBefore.perSecond, Ratio: empty.perSecond / loopBefore.perSecond, CPUMicrosPerEvent: empty.cpu, LoopCPUMicros: loopBefore.cpu, RSSMiB: empty.rss})
	row := Row{Scenario: fmt.Sprint("history-", b.cfg.Sizes.History), DeliveriesPerSecond: full.perSecond, LoopPerSecond: loop.perSecond, Ratio: full.perSecond / loop.perSecond,
		CPUMicrosPerEvent: full.cpu, LoopCPUMicros: loop.cpu, RSSMiB: full.rss, Target: "ratio within 10 % of the one without history"}
	row.Met = row.Ratio >= 0.9*empty.perSecond/loopBefore.perSecond
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
	numbers   = "WITH RECURSIVE n(i) AS (SELECT CAST($2 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < CAST($2 AS BIGINT) + CAST($3 AS BIGINT)) "
	oldEvents = "INSERT INTO event (id, organisation_id, position, issuance_key, issuance_id, type, body, fanout, test, created_at) " + numbers + `
		SELECT CAST($1 AS BIGINT) + i, (SELECT id FROM organisation LIMIT 1), CAST($1 AS BIGINT) + i, i, 'old-' || i, 'openid4vc.issuance.completed',
		BYTES('{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"old-' || i || '"}}'), 1, 0, CAST($4 AS BIGINT) FROM n`
	oldDone = "INSERT INTO delivery (id, organisation_id, endpoint_id, event_id, status, reason, attempt_count, retry_of, created_at, ended_at) " + numbers + `
		SELECT CAST($1 AS BIGINT) + i, (SELECT id FROM organisation LIMIT 1), p.id, CAST($1 AS BIGINT) + i, 'delivered', '', 1, 0, CAST($4 AS BIGINT), CAST($4 AS BIGINT) FROM n
		CROSS JOIN numbered p WHERE p.number = i % (SELECT count(*) FROM numbered)`
	oldAttempt = "INSERT INTO attempt (delivery_id, number, started_at, duration_us, status_code, error_code, error, response_excerpt) " + numbers + `
		SELECT CAST($1 AS BIGINT) + i, 1, CAST($4 AS BIGINT), 1000, 204, '', '', NULL FROM n`
)

// writeHistory writes rows of delivered events into the store of a server that
// is stopped.
func (in *installation) writeHistory(ctx context.Context, rows int) (err error) {
	driver, address, bytes := "sqlite", filepath.Join(in.data, "tidings.db")+"?_pragma=journal_mode(off)&_pragma=synchronous(off)&_pragma=cache_size(-262144)", "CAST($1 AS BLOB)"
	if in.database != "" {
		driver, address, bytes = "pgx", in.database, "convert_to($1, 'UTF8')"
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1) // the temporary table is a connection's
	if _, err := db.ExecContext(ctx, "CREATE TEMPORARY TABLE numbered AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM endpoint"); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "CREATE INDEX numbers ON numbered (number, id)"); err != nil {
		return err
	}
	text := regexp.MustCompile(`BYTES\((.*)\),`).ReplaceAllString(oldEvents, bytes+",")
	at := time.Now().Add(-24 * time.Hour).UnixMilli()
	first := keyAt(at)
	const step = 100_000
	for done := 0; done < rows; done += step {
		for i, statement := range []string{text, oldDone, oldAttempt} {
			args := []any{first, done, min(step, rows-done), at}
			if _, err := db.ExecContext(ctx, statement, args...); err != nil {
				return fmt.Errorf("statement %d: %w", i, err)
			}
		}
	}
	if in.database != "" { // as its own house-keeping would, at a time of its own
		_, err = db.ExecContext(ctx, "VACUUM ANALYZE")
	}
	return err
}

// keyAt is the first key of a time in epoch milliseconds, as the store makes
// them: 41 bits of milliseconds since 2025, 22 of node and counter.
func keyAt(ms int64) int64 {
	return (ms - time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()) << 22
}

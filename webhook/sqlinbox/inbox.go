package sqlinbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tidings/webhook"
)

const (
	pruneEvery  = 60 // seconds
	pruneBatch  = 1000
	maxReason   = 2000 // bytes
	maxIssuance = 256  // bytes, so that PostgreSQL can index it
)

// Schema gives the statements that make the table and its indexes, each of
// which does nothing where it exists, for those who let another tool run them.
func (in *Inbox) Schema() []string { return slices.Clone(in.statements.schema) }

// Migrate makes the table and its indexes where they do not exist. Several
// processes may call it at the same time.
func (in *Inbox) Migrate(ctx context.Context) error {
	if err := in.migrate(ctx); err != nil {
		return fmt.Errorf("make the table of the webhook inbox: %w", err)
	}
	return nil
}

func (in *Inbox) migrate(ctx context.Context) error {
	if in.dialect == SQLite { // each statement waits its turn; a transaction that reads first would not
		for _, statement := range in.statements.schema {
			if _, err := in.db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	// IF NOT EXISTS alone fails where two do it at once.
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext($1))`, "tidings/webhook/sqlinbox"); err != nil {
		return err
	}
	for _, statement := range in.statements.schema {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Put is described at [webhook.Inbox].
func (in *Inbox) Put(ctx context.Context, event webhook.Event) (bool, error) {
	result, err := in.db.ExecContext(ctx, in.statements.put, event.ID, clean(event.Type), shorten(clean(event.IssuanceID), maxIssuance),
		micros(event.Timestamp), event.Attempt, flag(event.Test), event.Body, micros(event.Received))
	if err != nil {
		return false, fmt.Errorf("put an event into the inbox: %w", err)
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("put an event into the inbox: %w", err)
	}
	return rows == 1, nil
}

// Claim is described at [webhook.Inbox].
func (in *Inbox) Claim(ctx context.Context, now time.Time, lease time.Duration) (*webhook.Claim, time.Time, error) {
	if err := in.prune(ctx, now); err != nil {
		return nil, time.Time{}, fmt.Errorf("prune the inbox: %w", err)
	}
	claim, err := in.take(ctx, now, lease)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("claim an event of the inbox: %w", err)
	}
	if claim != nil {
		return claim, time.Time{}, nil
	}
	var next sql.NullInt64
	if err := in.db.QueryRowContext(ctx, in.statements.next, micros(now)).Scan(&next); err != nil {
		return nil, time.Time{}, fmt.Errorf("look for the inbox's next event: %w", err)
	}
	if !next.Valid {
		return nil, time.Time{}, nil
	}
	return nil, time.UnixMicro(next.Int64).UTC(), nil
}

func (in *Inbox) take(ctx context.Context, now time.Time, lease time.Duration) (*webhook.Claim, error) {
	var (
		token                = rand.Text()
		id                   string
		body                 []byte
		sent, received       int64
		attempt, test, tries int
	)
	row := in.db.QueryRowContext(ctx, in.statements.claim, micros(now), micros(now.Add(lease)), token)
	switch err := row.Scan(&id, &body, &sent, &attempt, &test, &received, &tries); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	event, err := webhook.ParseEvent(id, body)
	if err != nil { // it was an event when it was put
		return nil, fmt.Errorf("event %s: %w", id, err)
	}
	event.Timestamp = time.UnixMicro(sent).UTC()
	event.Received = time.UnixMicro(received).UTC()
	event.Attempt, event.Test = attempt, test != 0
	return &webhook.Claim{Event: event, Attempt: tries, Token: token}, nil
}

// Settle is described at [webhook.Inbox].
func (in *Inbox) Settle(ctx context.Context, claim webhook.Claim, verdict webhook.Verdict) error {
	if claim.Token == "" { // which is what an unclaimed row has
		return webhook.ErrClaimLost
	}
	result, err := in.db.ExecContext(ctx, in.statements.settle, claim.Event.ID, claim.Token,
		string(verdict.State), verdict.Attempts, micros(verdict.Due), micros(verdict.At), shorten(clean(verdict.Reason), maxReason))
	if err != nil {
		return fmt.Errorf("settle an event of the inbox: %w", err)
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("settle an event of the inbox: %w", err)
	}
	if rows == 0 {
		return webhook.ErrClaimLost
	}
	return nil
}

// prune deletes what was processed before the retention time, a little now
// and then, so that nobody has to call it.
func (in *Inbox) prune(ctx context.Context, now time.Time) error {
	last := in.pruned.Load()
	if now.Unix()-last < pruneEvery || !in.pruned.CompareAndSwap(last, now.Unix()) {
		return nil
	}
	retention := in.Retention
	if retention <= 0 {
		retention = webhook.DefaultRetention
	}
	result, err := in.db.ExecContext(ctx, in.statements.prune, micros(now.Add(-retention)))
	if err != nil {
		return err
	}
	rows, err := result.RowsAffected()
	if rows == pruneBatch { // there is more
		in.pruned.Store(0)
	}
	return err
}

// micros gives the microseconds since 1970; before it is 0.
func micros(t time.Time) int64 { return max(0, t.UnixMicro()) }

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

// clean makes text that every database stores: PostgreSQL refuses NUL and what
// is not UTF-8. The body keeps the bytes as they came.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

func shorten(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

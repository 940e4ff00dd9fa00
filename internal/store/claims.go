package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Claims are personal. They go some time after their issuance has ended, from
// the rows and from the files: the writer's connection overwrites what it deletes
// (secure_delete in dsn), and the log is cut off once nothing more is due.

// overdueClaims finds issuances whose claims are kept for too long, by the time
// at which they ended.
const overdueClaims = "SELECT id FROM issuance WHERE claims_since < $1 ORDER BY claims_since LIMIT $2"

// DeleteClaims deletes what the ended issuances certified, longer ago than the
// claims' retention, and what wallets and their issuer wrote about it. It takes up to limit
// issuances and tells how many. Called until it gives 0, it finishes what a crash
// left.
func (s *Store) DeleteClaims(ctx context.Context, limit int) (deleted int, err error) {
	if s.claimsRetention <= 0 {
		return 0, nil
	}
	before := s.now().Add(-s.claimsRetention).UnixMilli()
	var keys []int64
	err = s.query(ctx, overdueClaims, []any{before, limit}, func(r scanner) error {
		var key int64
		err := r.Scan(&key)
		keys = append(keys, key)
		return err
	})
	if err != nil {
		return 0, err
	}
	if len(keys) == 0 {
		return 0, s.cutLog(ctx)
	}
	s.logHasClaims.Store(true)
	err = s.w.submit(ctx, classHouse, 0, len(keys), func(t *tx) error {
		for _, key := range keys {
			if err := t.deleteClaims(key); err != nil {
				return err
			}
		}
		return nil
	})
	return len(keys), err
}

func (t *tx) deleteClaims(issuance int64) error {
	if _, err := t.exec("UPDATE credential SET claims = '', holder_keys = '' WHERE issuance_id = $1", issuance); err != nil {
		return err
	}
	_, err := t.exec("UPDATE notification SET description = '' WHERE credential_id IN (SELECT id FROM credential WHERE issuance_id = $1)", issuance)
	if err != nil {
		return err
	}
	_, err = t.exec("UPDATE issuance SET claims_since = NULL, error_details = '' WHERE id = $1", issuance)
	return err
}

const (
	// logPatience is how long cutting the log may wait for readers, and writers
	// for it.
	logPatience = 100 * time.Millisecond
	// logCutEvery bounds how often they may have to.
	logCutEvery = time.Minute
)

// cutLog empties the write-ahead log, whose unused end would keep old pages, if
// claims were deleted since the last time or before the start. Where somebody
// reads for long, it is left for the next time.
func (s *Store) cutLog(ctx context.Context) error {
	now := s.now().UnixMilli()
	if last := s.logCutAt.Load(); s.dir == "" || !s.logHasClaims.Load() || now >= last && now < last+logCutEvery.Milliseconds() {
		return nil
	}
	s.logCutAt.Store(now)
	db, err := sql.Open("sqlite", dsn(filepath.Join(s.dir, "tidings.db"), false))
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, fmt.Sprint("PRAGMA busy_timeout = ", logPatience.Milliseconds())); err != nil {
		return err
	}
	s.logHasClaims.Store(false) // claims that are deleted meanwhile set it again
	var busy, frames, done int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &done)
	if err != nil || busy != 0 {
		s.logHasClaims.Store(true)
	}
	return err
}

// rememberClaimsRetention keeps the setting for [Store.Check], which other
// processes run.
func (s *Store) rememberClaimsRetention(ctx context.Context) error {
	var have int64
	err := s.queryRow(ctx, "SELECT value FROM counter WHERE name = $1", []any{claimsKept}, &have)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if have == s.claimsRetention.Milliseconds() {
		return nil
	}
	return s.w.submit(ctx, classTransition, 0, 1, func(t *tx) error {
		_, err := t.exec("INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
			claimsKept, s.claimsRetention.Milliseconds())
		return err
	})
}

// claimsKept is the counter of the claims' retention in milliseconds; 0: for ever.
const claimsKept = "claims_kept"

package store

import (
	"context"
	"runtime"
	"time"

	"tidings"
)

// Hush lets house-keeping go on at once, as if nobody else had written for long.
func (s *Store) Hush() {
	s.w.in.mu.Lock()
	defer s.w.in.mu.Unlock()
	s.w.in.busy = time.Time{}
}

// StatusRange is how many places are taken from a status list at once.
const StatusRange = statusRange

// HaveStatusListsOf makes new status lists smaller than usual.
func (s *Store) HaveStatusListsOf(places int64) { s.statusListSize = places }

// Columns gives all columns of the store's tables, "table.column".
func (s *Store) Columns(ctx context.Context) (out []string, err error) {
	query := "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
	if s.dir == "" {
		query = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'migration' AND NOT (SELECT relispartition FROM pg_class WHERE oid = table_name::regclass)"
	}
	err = s.query(ctx, query, nil, func(r scanner) error {
		var c string
		err := r.Scan(&c)
		out = append(out, c)
		return err
	})
	return out, err
}

// EndLease has the lease of this node run out, as if it had given no sign of life.
func (s *Store) EndLease(ctx context.Context) error {
	return s.w.submit(ctx, classTransition, 0, 1, func(t *tx) error {
		_, err := t.exec("UPDATE node SET lease_until = 0 WHERE number = $1", t.w.node)
		return err
	})
}

// LockWrite is the lock of whose turn it is to write on PostgreSQL.
const LockWrite = int64(lockWrite)

// InOneBatch has the writer take what n calls write as one batch.
func (s *Store) InOneBatch(n int, calls func()) {
	held, begun := make(chan struct{}), make(chan struct{})
	go s.w.submit(context.Background(), classTransition, 0, 1, func(*tx) error {
		close(begun)
		<-held
		return nil
	})
	<-begun
	go func() {
		for waiting := 0; waiting < n; runtime.Gosched() {
			s.w.in.mu.Lock()
			waiting = len(s.w.in.queues[classTransition])
			s.w.in.mu.Unlock()
		}
		close(held)
	}()
	calls()
}

// HoldExpansion has no more steps be done that make deliveries behind the commit of
// their event, until [Store.GoOnExpanding].
func (s *Store) HoldExpansion() { s.w.expand.Store(nil) }

// GoOnExpanding ends that.
func (s *Store) GoOnExpanding() { s.startExpanding() }

// ExpandOnce does one such step.
func (s *Store) ExpandOnce(ctx context.Context) error {
	return s.w.submit(ctx, classTransition, 0, 1, s.expand)
}

// Unexpanded tells how many deliveries such steps have to make.
func (s *Store) Unexpanded(ctx context.Context) (int64, error) {
	n, _, err := s.unexpanded(ctx)
	return n, err
}

// Publishes tells how many publishes wait for the writer.
func (s *Store) Publishes() int {
	s.w.in.mu.Lock()
	defer s.w.in.mu.Unlock()
	return len(s.w.in.queues[classPublish])
}

// The sizes of such steps.
const (
	FanAtOnce  = fanAtOnce
	ExpandRows = expandRows
)

// KeepStepAsBefore keeps a step of an issuance in a row of its own, as it was once.
func (s *Store) KeepStepAsBefore(ctx context.Context, id string, step tidings.IssuanceStep) error {
	key, _ := s.ids.key(id)
	return s.w.submit(ctx, classTransition, 0, 1, func(t *tx) error {
		_, err := t.exec("INSERT INTO issuance_step (issuance_id, id, step, detail, created_at) VALUES ($1, $2, $3, $4, $5)",
			key, t.key(), step.Name, step.Detail, step.At.UnixMilli())
		return err
	})
}

// StoredIssuance gives an issuance as the database has it.
func (s *Store) StoredIssuance(ctx context.Context, org int64, id string) (tidings.Issuance, error) {
	key, _ := s.ids.key(id)
	return s.readIssuance(s.reader(ctx), org, key)
}

// Remembered tells whether an issuance can be given without asking the database.
func (s *Store) Remembered(org int64, id string) bool {
	key, _ := s.ids.key(id)
	_, ok := s.w.recent.whole(org, key)
	return ok
}

// Embedded tells whether the database is the embedded one.
func (s *Store) Embedded() bool { return !s.w.remote }

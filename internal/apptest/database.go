package apptest

import (
	"sync"
	"testing"

	"tidings/internal/pgtest"
)

// postgres is what [OnPostgreSQL] set.
var postgres struct {
	mu     sync.Mutex
	server string            // its URL; empty: servers under test keep their data in folders
	byDir  map[string]string // the databases that stand for folders
}

// OnPostgreSQL has every server under test, until the end of t, keep its data in
// a PostgreSQL database that stands for its data folder. The settings are those of
// [pgtest.Start].
func OnPostgreSQL(t testing.TB, settings ...string) {
	t.Helper()
	server := pgtest.Start(t, settings...)
	postgres.mu.Lock()
	defer postgres.mu.Unlock()
	postgres.server, postgres.byDir = server, map[string]string{}
	t.Cleanup(func() {
		postgres.mu.Lock()
		defer postgres.mu.Unlock()
		postgres.server = ""
	})
}

// Database gives the URL of the database that stands for a data folder, empty at
// first, or nothing where the folder itself is the store.
func Database(t testing.TB, dir string) string {
	t.Helper()
	postgres.mu.Lock()
	defer postgres.mu.Unlock()
	if postgres.server == "" {
		return ""
	}
	if postgres.byDir[dir] == "" {
		postgres.byDir[dir] = pgtest.NewDatabase(t, postgres.server)
	}
	return postgres.byDir[dir]
}

package sqlitelog

import (
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modernc.org/libc"
	_ "modernc.org/sqlite" // the driver
	sqlite3 "modernc.org/sqlite/lib"
	"pgregory.net/rapid"
)

// openDatabase opens a database with one connection that writes through the VFS, and with
// a cache so small that long transactions write pages before they are committed.
func openDatabase(t testing.TB, file string) *sql.DB {
	t.Helper()
	if err := Register(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+file+"?vfs="+VFS+"&_pragma=synchronous(full)&_pragma=journal_mode(wal)&_pragma=cache_size(10)&_pragma=wal_autocheckpoint(50)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// insert makes or changes rows with as many bytes ($1, twice) from an id on ($2).
const insert = "INSERT OR REPLACE INTO t WITH RECURSIVE n (id) AS (SELECT $2 UNION ALL SELECT id + 1 FROM n) SELECT id, hex(zeroblob($1)) FROM n"

// rows reads all that is in the table, through the operating system's VFS.
func rows(t testing.TB, file string) (all map[int]string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Fatal(verdict, err)
	}
	found, err := db.Query("SELECT id, body FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	all = map[int]string{}
	for found.Next() {
		var id int
		var body string
		if err := found.Scan(&id, &body); err != nil {
			t.Fatal(err)
		}
		all[id] = body
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// calls counts the system calls of this process that write.
func calls(t *testing.T) (n int) {
	t.Helper()
	counts, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(counts), "syscw: ")
	if _, err := fmt.Sscan(after, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestACommitWritesTheLogWithFewCalls(t *testing.T) {
	db := openDatabase(t, filepath.Join(t.TempDir(), "test.db"))
	exec(t, db, "PRAGMA cache_size = 1000")
	exec(t, db, "PRAGMA wal_autocheckpoint = 0")
	exec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
	before := calls(t)
	exec(t, db, insert+" LIMIT 100", 1500, 1)
	// A hundred pages and those above them; 31 of them go at once.
	if n := calls(t) - before; n > 6 {
		t.Errorf("%d calls for a commit of some 100 pages", n)
	}
}

// TestWhatIsCommittedIsInTheFiles draws transactions, some so long that they write
// to the log before they are committed, some of them undone wholly or in part. At each step the
// files are copied, as they would be found after a crash of this process, and the log also as
// it was when it was last synced, as it may be found after a power cut: they
// hold what was committed, and nothing else. So does another connection find.
func TestWhatIsCommittedIsInTheFiles(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "test.db")
		db := openDatabase(t, file)
		exec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
		noteSyncs(file + "-wal")
		exec(t, db, "INSERT INTO t VALUES (0, '')")
		committed, open, saved := map[int]string{0: ""}, map[int]string{0: ""}, map[int]string{0: ""}
		exec(t, db, "BEGIN IMMEDIATE")
		exec(t, db, "SAVEPOINT here")
		for range rapid.IntRange(1, 8).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"change", "change", "change", "save", "go back", "commit", "undo"}).Draw(r, "step") {
			case "change":
				first, n, length := rapid.IntRange(0, 60).Draw(r, "first"), rapid.IntRange(1, 60).Draw(r, "n"), rapid.IntRange(0, 2000).Draw(r, "length")
				exec(t, db, insert+" LIMIT $3", length, first, n)
				for id := first; id < first+n; id++ {
					open[id] = strings.Repeat("0", 2*length)
				}
			case "save":
				exec(t, db, "SAVEPOINT here")
				saved = maps.Clone(open)
			case "go back":
				exec(t, db, "ROLLBACK TO here")
				open = maps.Clone(saved)
			case "commit":
				exec(t, db, "COMMIT")
				committed, saved = maps.Clone(open), maps.Clone(open)
				exec(t, db, "BEGIN IMMEDIATE")
				exec(t, db, "SAVEPOINT here")
			case "undo":
				exec(t, db, "ROLLBACK")
				open, saved = maps.Clone(committed), maps.Clone(committed)
				exec(t, db, "BEGIN IMMEDIATE")
				exec(t, db, "SAVEPOINT here")
			}
			same(t, "another connection", rows(t, file), committed)
			same(t, "after a crash", rows(t, copied(t, dir, "test.db-wal")), committed)
			same(t, "after a power cut", rows(t, copied(t, dir, "test.db-wal-synced")), committed)
		}
		exec(t, db, "ROLLBACK")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func same(t *testing.T, who string, got, want map[int]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", who, len(got), len(want))
	}
	for id, body := range want {
		if got[id] != body {
			t.Fatalf("%s: row %d has %d bytes, want %d", who, id, len(got[id]), len(body))
		}
	}
}

// copied copies the database and its log, without the index in shared memory,
// which is made anew from the log.
func copied(t *testing.T, dir, log string) string {
	t.Helper()
	to, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for from, name := range map[string]string{"test.db": "test.db", log: "test.db-wal"} {
		content, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(to, "test.db")
}

// noted is the log that noteSyncs has chosen.
var noted struct {
	path  string
	below *sqlite3.Tsqlite3_io_methods
}

// noteSyncs has the one log that is open copied whenever it is synced.
func noteSyncs(path string) {
	files.Range(func(_, f any) bool {
		log := f.(*file)
		noted.path, noted.below = path, log.below
		noting := *log.below
		noting.FxSync = pointer(noteSync)
		log.below = &noting
		return false
	})
}

func noteSync(tls *libc.TLS, address uintptr, flags int32) int32 {
	content, err := os.ReadFile(noted.path)
	if err == nil {
		err = os.WriteFile(noted.path+"-synced", content, 0o600)
	}
	if err != nil {
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	return function[func(*libc.TLS, uintptr, int32) int32](noted.below.FxSync)(tls, address, flags)
}

// full is a disk that takes nothing.
func full(*libc.TLS, uintptr, uintptr, int32, int64) int32 { return sqlite3.SQLITE_FULL }

func TestACommitFailsWithTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := openDatabase(t, path)
	exec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
	exec(t, db, "INSERT INTO t VALUES (1, 'one')")
	for name, n := range map[string]int{"a short one": 1, "one that writes before": 1000} {
		var log *file
		files.Range(func(_, f any) bool { log = f.(*file); return false })
		working := log.below
		broken := *working
		broken.FxWrite = pointer(full)
		log.below = &broken
		_, err := db.Exec(insert+" LIMIT $3", 1000, 2, n)
		log.below = working
		if err == nil {
			t.Fatalf("%s: a commit on a full disk succeeded", name)
		}
	}
	same(t, "after a full disk", rows(t, path), map[int]string{1: "one"})
	exec(t, db, "INSERT INTO t VALUES (2, 'two')")
	same(t, "with room again", rows(t, path), map[int]string{1: "one", 2: "two"})
}

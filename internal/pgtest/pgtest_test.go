package pgtest

import (
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestStart(t *testing.T) {
	var dir string
	t.Run("while it runs", func(t *testing.T) {
		dsn := Start(t)
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		dir = u.Query().Get("host")
		var listens string
		if err := open(t, dsn).QueryRow("SHOW listen_addresses").Scan(&listens); err != nil || listens != "" {
			t.Errorf("listens on %q, %v", listens, err)
		}
		first, second := open(t, NewDatabase(t, dsn)), open(t, NewDatabase(t, dsn))
		for _, db := range []*sql.DB{first, second} {
			if _, err := db.Exec("CREATE TABLE own (n int)"); err != nil {
				t.Error(err)
			}
		}
		var encoding, user string
		if err := first.QueryRow("SELECT current_setting('server_encoding'), current_user").Scan(&encoding, &user); err != nil ||
			encoding != "UTF8" || user != "postgres" {
			t.Errorf("%s, %s, %v", encoding, user, err)
		}
		if info, err := os.Stat(filepath.Join(dir, "data")); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info, err)
		}
	})
	if _, err := os.Stat(dir); dir == "" || !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", dir, err)
	}
}

package apptest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// nextSchema is what a version to come may do to the schema while servers of this
// one work on it: it only adds, to tables that all of them use all the time.
const nextSchema = `
CREATE TABLE next (id BIGINT PRIMARY KEY);
ALTER TABLE attempt ADD COLUMN next BIGINT NOT NULL DEFAULT 0;
ALTER TABLE queue ADD COLUMN next TEXT NOT NULL DEFAULT '';
ALTER TABLE lane ADD COLUMN next BIGINT;
ALTER TABLE endpoint ADD COLUMN next BIGINT NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN next BIGINT NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN next TEXT NOT NULL DEFAULT '';
CREATE INDEX event_next ON event (next) WHERE next <> '';
ALTER TABLE node ADD COLUMN next BIGINT NOT NULL DEFAULT 0;
`

// NextBinary builds the product as the version to come: it has one more migration
// of PostgreSQL.
func NextBinary(t testing.TB) string {
	t.Helper()
	folder, err := filepath.Abs("../store/migrations/postgres")
	if err != nil {
		t.Fatal(err)
	}
	have, err := filepath.Glob(filepath.Join(folder, "*.sql"))
	if err != nil || len(have) == 0 {
		t.Fatal(folder, err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	added := filepath.Join(folder, fmt.Sprintf("%04d_next.sql", len(have)+1))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{added: write("next.sql", []byte(nextSchema))}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tidings-next")
	build(t, path, "-overlay", write("overlay.json", overlay))
	return path
}

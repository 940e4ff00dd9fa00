package store

import (
	"os"
	"path/filepath"
	"testing"

	"tidings"
)

func TestTheLogIsShortWhereThereIsLittleRoom(t *testing.T) {
	for free, pages := range map[int64]int64{0: 1000, 14 << 20: 1000, 512 << 20: 2048, 1 << 30: 4000, 1 << 40: 4000} {
		if got := logPages(free); got != pages {
			t.Errorf("%d bytes free: a log of %d pages, want %d", free, got, pages)
		}
	}
}

// TestTheLogGoesBackIntoTheDatabase: it stays as long as it may get, whatever is written.
func TestTheLogGoesBackIntoTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.CreateClient(t.Context(), "default", tidings.Client{ID: "client", Scopes: tidings.AllScopes})
	if err != nil {
		t.Fatal(err)
	}
	free, err := freeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	events := make([]tidings.NewEvent, 100)
	for i := range events {
		events[i] = tidings.NewEvent{Type: tidings.IssuanceOffered, IssuanceID: "i"}
	}
	var most, written int64
	for written < 3*logPages(free)*pageSize {
		if _, err := s.Publish(t.Context(), c.Organisation.Key, events, nil); err != nil {
			t.Fatal(err)
		}
		log, err := os.Stat(filepath.Join(dir, "tidings.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		database, err := os.Stat(filepath.Join(dir, "tidings.db"))
		if err != nil {
			t.Fatal(err)
		}
		most, written = max(most, log.Size()), log.Size()+database.Size()
	}
	if longest := (logPages(free) + maxBatchRows) * (pageSize + 24); most > longest {
		t.Errorf("the log got to %d bytes, want at most %d", most, longest)
	}
}

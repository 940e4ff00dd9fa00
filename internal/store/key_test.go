package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// After a crash keys go on behind all that were given, although the newest of them is
// not written with each commit, and so do ids and the feed, also where the clock was
// set back meanwhile.
func TestKeysGoOnAfterACrash(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	for range 3 { // of the first second, and of those behind
		for range 3 {
			o.publish(t, tidings.IssuanceOffered, "i")
			o.clock.Advance(100 * time.Millisecond)
		}
		o.clock.Advance(time.Second)
	}
	before := o.events(t)
	last := before[len(before)-1]
	for _, back := range []time.Duration{0, 2 * time.Second} {
		copied := t.TempDir()
		for _, name := range []string{"tidings.db", "tidings.db-wal"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(copied, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := store.Open(t.Context(), store.Options{Dir: copied, Now: func() time.Time { return last.CreatedAt.Add(-back) }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		made, err := s.Publish(t.Context(), o.org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: "i"}}, nil)
		if err != nil || made[0].ID <= last.ID {
			t.Errorf("after a crash %s is made behind %s, %v", made[0].ID, last.ID, err)
		}
	}
}

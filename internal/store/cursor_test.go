package store_test

import (
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// Whoever was away for longer than the retention time goes on with the first
// event that is still there.
func TestACursorOutlivesItsEvent(t *testing.T) {
	clock := newClock()
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Now: clock.Now, Retention: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	org := organisation(t, s, "default")
	publish := func(issuance string) tidings.Event {
		out, err := s.Publish(t.Context(), org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: issuance}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	seen := publish("a")
	clock.Advance(48 * time.Hour)
	fresh := publish("b")
	for n := 1; n > 0; {
		if n, err = s.Retain(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Event(t.Context(), org.Key, seen.ID); tidings.KindOf(err) != tidings.KindNotFound {
		t.Fatalf("the old event gives %v, want that it is gone", err)
	}
	page, err := s.Events(t.Context(), org.Key, tidings.EventFilter{}, tidings.Page{After: seen.ID})
	if err != nil || len(page.Items) != 1 || page.Items[0].ID != fresh.ID {
		t.Errorf("behind the old event there is %v, %v; want %s", page.Items, err, fresh.ID)
	}
	other := organisation(t, s, "other")
	if _, err := s.Events(t.Context(), other.Key, tidings.EventFilter{}, tidings.Page{After: fresh.ID}); tidings.KindOf(err) != tidings.KindInvalid {
		t.Errorf("another organisation's event as a cursor gives %v", err)
	}
}

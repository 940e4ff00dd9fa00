package store_test

import (
	"slices"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// Whoever was away for longer than the retention time goes on with the first
// event that is still there.
func TestACursorOutlivesItsEvent(t *testing.T) {
	clock := newClock()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Database: database(t, dir), Dir: dir, Now: clock.Now, Retention: 24 * time.Hour})
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

// Events are found by the time at which they were accepted, also where the
// clock was ahead for a moment, which keys never go back behind.
func TestEventsSinceATime(t *testing.T) {
	o := open(t, t.TempDir())
	accept := func(typ tidings.EventType, later time.Duration) string {
		o.clock.Advance(later)
		return o.publish(t, typ, "i").ID
	}
	accept(tidings.IssuanceOffered, 0)
	ahead := accept(tidings.IssuanceFailed, 3*time.Hour)
	accept(tidings.IssuanceOffered, -2*time.Hour) // the clock is set right
	from := o.clock.Now().Add(time.Minute)
	first := accept(tidings.IssuanceFailed, time.Minute)
	second := accept(tidings.IssuanceOffered, time.Hour)
	third := accept(tidings.IssuanceFailed, time.Hour)
	for _, row := range []struct {
		f    tidings.EventFilter
		want []string
	}{
		{tidings.EventFilter{Since: from}, []string{ahead, first, second, third}},
		{tidings.EventFilter{Since: from.Add(time.Millisecond)}, []string{ahead, second, third}},
		{tidings.EventFilter{Since: from, Type: tidings.IssuanceFailed}, []string{ahead, first, third}},
		{tidings.EventFilter{Since: from, IssuanceID: "i"}, []string{ahead, first, second, third}},
		{tidings.EventFilter{Since: from.Add(24 * time.Hour)}, nil},
	} {
		var forward, back []string
		for p := (tidings.Page{Size: 1}); ; {
			l, err := o.Events(t.Context(), o.org.Key, row.f, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range l.Items {
				forward, p.After = append(forward, e.ID), e.ID
			}
			if !l.HasNext {
				break
			}
		}
		for p := (tidings.Page{Size: 1, Before: third}); row.want != nil; {
			l, err := o.Events(t.Context(), o.org.Key, row.f, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range l.Items {
				back, p.Before = append([]string{e.ID}, back...), e.ID
			}
			if !l.HasPrev {
				back = append(back, third)
				break
			}
		}
		if !slices.Equal(forward, row.want) || !slices.Equal(back, row.want) {
			t.Errorf("%+v gives %v and back %v, want %v", row.f, forward, back, row.want)
		}
	}
}

package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"tidings/internal/store"
)

// A chore that is never done, as traffic brings more all the time, keeps no
// other from its turn, nor does one that fails; and one that was done is looked
// at again at the next tick.
func TestALongChoreKeepsNoOtherWaiting(t *testing.T) {
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := &App{Store: s, cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	ctx, stop := context.WithCancel(t.Context())
	tick := make(chan time.Time, 1)
	var done []string
	do := func(name string, touched int, err error) chore {
		return chore{name, func(context.Context, int) (int, error) {
			done = append(done, name)
			switch len(done) {
			case 5:
				tick <- time.Now()
			case 8:
				stop()
			}
			return touched, err
		}}
	}
	a.stepByStep(ctx, []chore{do("endless", 1, nil), do("broken", 1, errors.New("broken")), do("short", 0, nil)}, tick)
	want := []string{"endless", "broken", "short", "endless", "endless", "endless", "broken", "short"}
	if !slices.Equal(done, want) {
		t.Errorf("the turns were %q, want %q", done, want)
	}
}

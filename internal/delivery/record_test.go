package delivery

import (
	"errors"
	"log/slog"
	"slices"
	"testing"

	"tidings"
)

// takesSome is a store that takes some results.
type takesSome struct {
	Store
	answers []error
}

func (s takesSome) Record([]tidings.AttemptResult) []error { return s.answers }

// What the store cannot take now waits, what it took or refuses is the engine's,
// all of it in order.
func TestRecordOnceKeepsWhatIsNotTaken(t *testing.T) {
	later, wrong := tidings.Unavailable(0, nil, "later"), errors.New("wrong")
	e := New(takesSome{answers: []error{nil, later, wrong, nil, later, tidings.ErrLaneTaken}}, senderFunc(nil), Config{Log: slog.New(slog.DiscardHandler)})
	var waiting []tidings.AttemptResult
	for key := range int64(6) {
		waiting = append(waiting, tidings.AttemptResult{Delivery: tidings.PendingDelivery{Key: key}})
	}
	keys := func(results []tidings.AttemptResult) (out []int64) {
		for _, r := range results {
			out = append(out, r.Delivery.Key)
		}
		return out
	}
	if left := keys(e.recordOnce(waiting)); !slices.Equal(left, []int64{1, 4}) {
		t.Errorf("left %v", left)
	}
	got := e.recorded.take()
	if len(got) != 1 || !got[0].troubled || !slices.Equal(keys(got[0].results), []int64{0, 2, 3, 5}) ||
		!slices.Equal(got[0].errs, []error{nil, wrong, nil, tidings.ErrLaneTaken}) {
		t.Errorf("recorded %+v", got)
	}
}

// What is put while somebody looks at what was taken disturbs neither, though
// the memory goes round.
func TestAMailboxGoesRound(t *testing.T) {
	m := newMailbox[int](newSignal())
	next := 0
	put := func(n int) {
		for range n {
			m.put(next)
			next++
		}
	}
	want := 0
	for n := range 20 {
		put(n)
		taken := m.take()
		put(n)
		for _, got := range append(slices.Clone(taken), m.take()...) {
			if got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
			want++
		}
		m.back(taken)
	}
	if want != next {
		t.Errorf("%d of %d came", want, next)
	}
	m.back(make([]int, mostKept+1))
	if cap(m.spare) > mostKept {
		t.Error("a crowd's memory is kept")
	}
}

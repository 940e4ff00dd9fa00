package webhook_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tidings/webhook"
	"tidings/webhook/internal/inboxtest"
)

func TestMemoryInbox(t *testing.T) {
	inboxtest.Run(t, func(*testing.T) (a, b webhook.Inbox) {
		in := &webhook.MemoryInbox{}
		return in, in
	})
}

// TestMemoryInboxIsBounded: processed events make room for fresh ones, the
// oldest first; others do not.
func TestMemoryInboxIsBounded(t *testing.T) {
	in := &webhook.MemoryInbox{Max: 3}
	now := time.Now()
	put := func(n int) (bool, error) {
		return in.Put(t.Context(), webhook.Event{ID: fmt.Sprint(n), Received: now})
	}
	for n := range 3 {
		if fresh, err := put(n); !fresh || err != nil {
			t.Fatal(fresh, err)
		}
	}
	if _, err := put(3); !errors.Is(err, webhook.ErrInboxFull) {
		t.Fatalf("a fourth pending event: %v", err)
	}
	for n, state := range []webhook.State{webhook.Failed, webhook.Processed, webhook.Processed} {
		c, _, err := in.Claim(t.Context(), now, time.Minute)
		if err != nil || c == nil || c.Event.ID != fmt.Sprint(n) {
			t.Fatal(c, err)
		}
		if err := in.Settle(t.Context(), *c, webhook.Verdict{State: state, At: now}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		n     int
		fresh bool
	}{{2, false}, {3, true}, {2, false}, {0, false}, {1, true}} { // 3 takes the place of 1, and 1 that of 2
		if fresh, err := put(row.n); err != nil || fresh != row.fresh {
			t.Errorf("%d: %v, %v", row.n, fresh, err)
		}
	}
	if _, err := put(2); !errors.Is(err, webhook.ErrInboxFull) { // 0 failed, 3 and 1 are pending
		t.Errorf("full again: %v", err)
	}
	if failed := in.Failed(); len(failed) != 1 || failed[0].ID != "0" {
		t.Errorf("parked: %v", failed)
	}
}

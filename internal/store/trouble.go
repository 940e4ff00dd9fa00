package store

import (
	"context"
	"fmt"
	"time"

	"tidings"
)

// storageError turns what the database said into what a caller may see, and
// ends the process where nothing can be relied on any more.
func (w *writer) storageError(err error) error {
	if w.failing.Swap(&err) == nil {
		w.log.Error("storage does not take writes", "error", err)
	}
	if judge(err) == faultSync {
		w.onFatal(fmt.Errorf("syncing to disk: %w", err))
	}
	message := "The store does not take writes at the moment; try again."
	if judge(err) == faultFull {
		message = "The disk of the server is full; try again."
	}
	return tidings.Unavailable(2*time.Second, err, "%s", message)
}

func (w *writer) trouble() error {
	if p := w.failing.Load(); p != nil {
		return *p
	}
	return nil
}

// try writes a row that means nothing, to find out whether writes work again.
func (w *writer) try(ctx context.Context) error {
	return w.submit(ctx, classTransition, 0, 1, func(t *tx) error {
		_, err := t.exec("INSERT INTO counter (name, value) VALUES ('last_try', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value", t.now)
		return err
	})
}

package main

import (
	"context"
	"fmt"
	"time"

	"tidings/internal/store"
)

type checkCommand struct {
	dataFlag
	Limit int `default:"20" help:"How many breaches of each sort are listed."`
}

// Run proves the store's invariants, and lists what breaks them.
func (c checkCommand) Run(ctx context.Context, env *environment) error {
	return c.visit(ctx, env, func(s *store.Store) error {
		breaches, err := s.Check(ctx, c.Limit)
		for _, b := range breaches {
			fmt.Fprintln(env.stdout, b)
		}
		if err == nil && len(breaches) > 0 {
			err = fmt.Errorf("%d breaches found", len(breaches))
		}
		if err != nil {
			return err
		}
		size, err := s.Size(ctx)
		if err != nil {
			return err
		}
		oldest := "none"
		if size.OldestEvent != nil {
			oldest = size.OldestEvent.Format(time.RFC3339)
		}
		fmt.Fprintln(env.stdout, "ok: every accepted event has all its deliveries, nothing is forgotten, every issuance told its story once")
		free := ""
		if size.Free >= 0 {
			free = fmt.Sprintf("free on disk %.1f MB, ", float64(size.Free)/1e6)
		}
		_, err = fmt.Fprintf(env.stdout, "size %.1f MB, %soldest event %s\n", float64(size.Bytes)/1e6, free, oldest)
		return err
	})
}

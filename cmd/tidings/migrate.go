package main

import (
	"context"
	"fmt"

	"tidings/internal/store"
)

type migrateCommand struct {
	Database string `required:"" env:"TIDINGS_DATABASE" placeholder:"postgres://…" help:"The PostgreSQL, as the role that owns the schema."`
}

// Help says when it is needed.
func (migrateCommand) Help() string {
	return `tidings serve does this at its start where its role may change the schema. Where that is not so, run this first, once for each new version; servers of the version before go on beside it.`
}

// Run brings the schema up to date.
func (c migrateCommand) Run(ctx context.Context, env *environment) error {
	ran, err := store.Migrate(ctx, c.Database)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "the schema is up to date: %d migrations ran\n", ran)
	return err
}

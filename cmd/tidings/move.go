package main

import (
	"context"
	"fmt"

	"tidings/internal/store"
)

type moveCommand struct {
	From string `required:"" placeholder:"DIR" help:"Data folder of the embedded installation, whose server is stopped."`
	To   string `required:"" placeholder:"postgres://…" help:"An empty PostgreSQL. A password is better in PGPASSWORD or ~/.pgpass than here, where others see it."`
}

// Help says what the flags do not.
func (moveCommand) Help() string {
	return `Copies everything, pending deliveries and keys included, in one transaction: after an error, or when it is broken off, the database is as empty as before, and the command can be given again. Each table is read back and compared by count and digest before the commit.

Start the server with --database afterwards. The folder stays as it is: it must not be served any more, as two servers would send the same webhooks.`
}

// Run moves, tells on stderr how far it is, and prints what was moved.
func (c moveCommand) Run(ctx context.Context, env *environment) error {
	moved, err := store.Move(ctx, store.MoveOptions{Dir: c.From, Database: c.To, Progress: func(table string, done, of int64) {
		fmt.Fprintf(env.stderr, "%s: %d of %d rows\n", table, done, of)
	}})
	if err != nil {
		return err
	}
	var rows int64
	for _, m := range moved {
		rows += m.Rows
	}
	_, err = fmt.Fprintf(env.stdout, "moved %d rows of %d tables; what is there is what was here, by count and digest\nStart tidings serve with --database now, and leave %s unserved.\n", rows, len(moved), c.From)
	return err
}

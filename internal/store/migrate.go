package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// migrate runs the migrations that the database has not had yet, each in a
// transaction of its own, forward only. user_version counts them. A process
// that only visits (shared) changes no schema: it refuses one that is not its own.
func migrate(ctx context.Context, db *sql.DB, shared bool) error {
	if err := checkVersion(ctx, db); err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer conn.Close()
	var have int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	if err := checkSchema(have, len(files), shared); err != nil {
		return err
	}
	for i := have; i < len(files); i++ {
		if err := migrateOne(ctx, conn, files[i], i+1); err != nil {
			return fmt.Errorf("migration %s: %w", files[i], err)
		}
	}
	return nil
}

// checkSchema refuses a database that this program must not work on: one of a
// newer program, and for a visitor one that the server has not migrated yet.
func checkSchema(have, known int, shared bool) error {
	if have > known {
		return fmt.Errorf("the database has schema version %d, this program knows up to %d: it was written by a newer tidings", have, known)
	}
	if shared && have > 0 && have < known {
		return fmt.Errorf("the database has schema version %d, this program needs %d: start tidings serve once to bring it up to date", have, known)
	}
	return nil
}

func migrateOne(ctx context.Context, conn *sql.Conn, file string, version int) error {
	text, err := migrations.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // after COMMIT there is nothing to roll back
	var have int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	if have >= version {
		return nil // another process was faster
	}
	if _, err := conn.ExecContext(ctx, string(text)); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA user_version = "+strconv.Itoa(version)); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

func checkVersion(ctx context.Context, db *sql.DB) error {
	var have string
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&have); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if versionLess(have, minSQLite) {
		return fmt.Errorf("SQLite %s is too old: %s or newer is needed", have, minSQLite)
	}
	return nil
}

func versionLess(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return len(as) < len(bs)
}

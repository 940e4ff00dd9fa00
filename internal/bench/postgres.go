package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib" // the driver that the store uses, too
)

// postgres is the database server on which each installation gets a database of
// its own.
type postgres struct {
	url    *url.URL
	admin  *sql.DB
	master int // the process that all of the server's come from; 0: it is on another machine
}

// openPostgres connects as a user who may create databases. Where the server
// would acknowledge what is not on disk, nothing is measured.
func openPostgres(ctx context.Context, address string) (*postgres, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("--database takes a URL like postgres://user@host/database")
	}
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("the database's URL cannot be read") // the error may hold the password
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may stand before it
	admin := stdlib.OpenDB(*cfg)
	p := &postgres{url: u, admin: admin}
	for _, setting := range []string{"fsync", "full_page_writes"} {
		var value string
		if err := admin.QueryRowContext(ctx, "SELECT current_setting($1)", setting).Scan(&value); err != nil {
			return nil, errors.Join(fmt.Errorf("connecting to the database: %w", err), admin.Close())
		}
		if value != "on" {
			return nil, errors.Join(fmt.Errorf("durability is off: the database server runs with %s=%s", setting, value), admin.Close())
		}
	}
	var backend int
	var local bool
	err = admin.QueryRowContext(ctx, "SELECT pg_backend_pid(), inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr()").Scan(&backend, &local)
	if err != nil {
		return nil, errors.Join(err, admin.Close())
	}
	if local {
		p.master = parentOf(backend)
	}
	return p, nil
}

func (p *postgres) close() error { return p.admin.Close() }

// create makes an empty database and gives its URL.
func (p *postgres) create(ctx context.Context, number int) (address string, err error) {
	name := fmt.Sprintf("tidings_bench_%d_%d", os.Getpid(), number)
	if _, err := p.admin.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("making a database: %w", err)
	}
	u := *p.url
	u.Path = "/" + name
	return u.String(), nil
}

// drop drops a database that create has made, whoever is connected to it.
func (p *postgres) drop(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = p.admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+u.Path[1:]+" WITH (FORCE)")
	return err
}

// cpu is the processor time of the database server's processes, ended ones
// included; 0 where it runs on another machine.
func (p *postgres) cpu() time.Duration {
	if p == nil || p.master == 0 {
		return 0
	}
	return cpuOfTree(p.master)
}

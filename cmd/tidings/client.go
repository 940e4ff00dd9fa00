package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"tidings"
	"tidings/internal/auth"
	"tidings/internal/store"
)

type clientCommand struct {
	Create clientCreate `cmd:"" help:"Create a client, and its organisation where that is new; prints the secret, which is shown only once."`
	List   clientList   `cmd:"" help:"List clients."`
	Rotate clientRotate `cmd:"" help:"Give a client a new secret; the old one ends at once."`
	Revoke clientRevoke `cmd:"" help:"End a client for good: its tokens stop working within seconds."`
}

// dataFlag names the store that a command visits.
type dataFlag struct {
	Data     string `env:"TIDINGS_DATA" default:"./tidings-data" placeholder:"DIR" help:"Folder of the embedded database."`
	Database string `env:"TIDINGS_DATABASE" placeholder:"URL" help:"A PostgreSQL (postgres://…) instead of the folder."`
}

// visit opens the store, which must be there, beside a server that may be
// running.
func (f dataFlag) visit(ctx context.Context, env *environment, do func(*store.Store) error) error {
	if _, err := os.Stat(filepath.Join(f.Data, "tidings.db")); f.Database == "" && errors.Is(err, os.ErrNotExist) {
		return &tidings.Error{Kind: tidings.KindNotFound, Message: "There is no database in " + f.Data + ": --data (TIDINGS_DATA) names the folder that the server works with."}
	}
	return f.open(ctx, env, do)
}

// open opens the store, and makes it where there is none.
func (f dataFlag) open(ctx context.Context, env *environment, do func(*store.Store) error) error {
	log := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := store.Open(ctx, store.Options{Dir: f.Data, Database: f.Database, Correct: true, Shared: true, Log: log})
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

type clientCreate struct {
	dataFlag
	Organisation string `required:"" placeholder:"NAME" help:"Whose client: 1 to 40 characters of a-z, 0-9 and -."`
	Scope        string `placeholder:"publish,read,admin" help:"What it may do. Default: everything."`
}

type clientSecret struct {
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
	Organisation string `json:"organisation"`
}

// Run creates a client and prints it as JSON.
func (c clientCreate) Run(ctx context.Context, env *environment) error {
	scopes, err := tidings.ParseScopes(c.Scope)
	if err != nil {
		return err
	}
	if err := tidings.CheckSlug(c.Organisation); err != nil {
		return err
	}
	return c.open(ctx, env, func(s *store.Store) error {
		id, secret := auth.NewClientID(), auth.NewClientSecret()
		made, err := s.CreateClient(ctx, c.Organisation, tidings.Client{ID: id, Scopes: scopes, SecretHash: auth.HashClientSecret(secret)})
		if err != nil {
			return err
		}
		return json.NewEncoder(env.stdout).Encode(clientSecret{made.ID, secret, made.Organisation.Slug})
	})
}

type clientList struct {
	dataFlag
	Organisation string `placeholder:"NAME" help:"Only this organisation's."`
	Output       string `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

type clientRow struct {
	ClientID     string     `json:"clientId"`
	Organisation string     `json:"organisation"`
	Scope        string     `json:"scope"`
	CreatedAt    time.Time  `json:"createdAt"`
	RotatedAt    *time.Time `json:"rotatedAt"`
	RevokedAt    *time.Time `json:"revokedAt"`
}

// Run lists clients, never their secrets.
func (c clientList) Run(ctx context.Context, env *environment) error {
	return c.visit(ctx, env, func(s *store.Store) error {
		clients, err := s.Clients(ctx, c.Organisation)
		if err != nil {
			return err
		}
		rows := make([]clientRow, len(clients))
		for i, x := range clients {
			rows[i] = clientRow{x.ID, x.Organisation.Slug, x.Scopes.String(), x.CreatedAt, x.RotatedAt, x.RevokedAt}
		}
		if c.Output == "json" {
			return json.NewEncoder(env.stdout).Encode(rows)
		}
		w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "CLIENT ID\tORGANISATION\tSCOPE\tCREATED\tSTATE")
		for _, r := range rows {
			state := "active"
			if r.RevokedAt != nil {
				state = "revoked " + r.RevokedAt.Format(time.DateTime)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ClientID, r.Organisation, r.Scope, r.CreatedAt.Format(time.DateTime), state)
		}
		return w.Flush()
	})
}

type clientRotate struct {
	dataFlag
	ClientID string `arg:"" name:"client-id" help:"The client."`
}

// Run gives the client another secret and prints it as JSON.
func (c clientRotate) Run(ctx context.Context, env *environment) error {
	return c.visit(ctx, env, func(s *store.Store) error {
		secret := auth.NewClientSecret()
		if err := s.RotateClient(ctx, c.ClientID, auth.HashClientSecret(secret)); err != nil {
			return err
		}
		made, err := s.Client(ctx, c.ClientID)
		if err != nil {
			return err
		}
		return json.NewEncoder(env.stdout).Encode(clientSecret{made.ID, secret, made.Organisation.Slug})
	})
}

type clientRevoke struct {
	dataFlag
	ClientID string `arg:"" name:"client-id" help:"The client."`
}

// Run revokes the client.
func (c clientRevoke) Run(ctx context.Context, env *environment) error {
	return c.visit(ctx, env, func(s *store.Store) error {
		if err := s.RevokeClient(ctx, c.ClientID); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.stdout, "revoked %s\n", c.ClientID)
		return err
	})
}

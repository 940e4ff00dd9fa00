package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"tidings"
	"tidings/internal/issuer"
	"tidings/internal/store"
)

type keyCommand struct {
	List   keyList   `cmd:"" help:"List the keys that sign and have signed an organisation's credentials, the newest first."`
	Rotate keyRotate `cmd:"" help:"Have an organisation sign with a new key; what the old ones signed still verifies."`
	Import keyImport `cmd:"" help:"Have an organisation sign with a certificate and key of its own."`
}

// operator stands in the audit log for whoever has the server's own command
// line.
const operator = "operator"

// keyFlags say whose keys.
type keyFlags struct {
	dataFlag
	Organisation string `required:"" placeholder:"NAME" help:"Whose keys: the organisation's name in URLs."`
}

func (f keyFlags) keys(ctx context.Context, env *environment, do func(*store.Store, tidings.Organisation) error) error {
	if err := tidings.CheckSlug(f.Organisation); err != nil {
		return err
	}
	return f.visit(ctx, env, func(s *store.Store) error {
		org, err := s.OrganisationBySlug(ctx, f.Organisation)
		if err != nil {
			return err
		}
		return do(s, org)
	})
}

type keyRow struct {
	ID        string    `json:"id"`
	State     string    `json:"state"` // signs or verifies
	Origin    string    `json:"origin"`
	Names     []string  `json:"names"`
	CreatedAt time.Time `json:"createdAt"`
	ValidTo   time.Time `json:"validTo"`
}

func showKey(k issuer.KeyInfo) keyRow {
	row := keyRow{ID: k.ID, State: "verifies", Origin: "made", Names: k.Names, CreatedAt: k.CreatedAt, ValidTo: k.NotAfter}
	if k.Signs {
		row.State = "signs"
	}
	if k.Imported {
		row.Origin = "imported"
	}
	return row
}

type keyList struct {
	keyFlags
	Output string `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

// Run lists keys, never their private parts.
func (c keyList) Run(ctx context.Context, env *environment) error {
	return c.keys(ctx, env, func(s *store.Store, org tidings.Organisation) error {
		keys, err := issuer.ListKeys(ctx, s, org)
		if err != nil {
			return err
		}
		rows := make([]keyRow, len(keys))
		for i, k := range keys {
			rows[i] = showKey(k)
		}
		if c.Output == "json" {
			return json.NewEncoder(env.stdout).Encode(rows)
		}
		w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "KEY\tSTATE\tORIGIN\tCREATED\tVALID TO\tNAMES")
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.State, r.Origin, r.CreatedAt.Format(time.DateTime), r.ValidTo.Format(time.DateTime), strings.Join(r.Names, " "))
		}
		return w.Flush()
	})
}

type keyRotate struct {
	keyFlags
	PublicURL string `name:"public-url" env:"TIDINGS_PUBLIC_URL" placeholder:"URL" help:"Base of all links, which the certificate names. Default: that of the key that was made last."`
}

// Run adds a key that is made here.
func (c keyRotate) Run(ctx context.Context, env *environment) error {
	return c.keys(ctx, env, func(s *store.Store, org tidings.Organisation) error {
		k, err := issuer.RotateKey(ctx, s, org, strings.TrimSuffix(c.PublicURL, "/"), operator, time.Now())
		if err != nil {
			return err
		}
		return sayKey(env, k, "made")
	})
}

type keyImport struct {
	keyFlags
	Cert string `required:"" placeholder:"FILE" help:"PEM: the certificate, and behind it those that certify it."`
	Key  string `required:"" placeholder:"FILE" help:"PEM: its private key, ECDSA on P-256."`
}

// Help says what is needed.
func (keyImport) Help() string {
	return `The certificate must be signed by a CA, which verifiers trust, and name the issuer's URL or its host as an alternative name.
It is not renewed by itself: import the next one before it ends.`
}

// Run adds a key that was made elsewhere.
func (c keyImport) Run(ctx context.Context, env *environment) error {
	cert, err := readSmall(c.Cert)
	if err != nil {
		return usageError{err}
	}
	key, err := readSmall(c.Key)
	if err != nil {
		return usageError{err}
	}
	return c.keys(ctx, env, func(s *store.Store, org tidings.Organisation) error {
		k, err := issuer.ImportKey(ctx, s, org, cert, key, operator, time.Now())
		if err != nil {
			return err
		}
		return sayKey(env, k, "imported")
	})
}

func sayKey(env *environment, k issuer.KeyInfo, how string) error {
	_, err := fmt.Fprintf(env.stdout, "%s %s, valid to %s, for %s\n", how, k.ID, k.NotAfter.Format(time.DateTime), strings.Join(k.Names, " "))
	return err
}

// readSmall reads a file that is small where it is what it should be.
func readSmall(name string) ([]byte, error) {
	const limit = 1 << 20
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit))
	if err == nil && len(text) == limit {
		err = fmt.Errorf("%s is no PEM file: it is over 1 MiB", name)
	}
	return text, err
}

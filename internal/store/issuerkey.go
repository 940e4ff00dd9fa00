package store

import (
	"context"

	"tidings"
)

// IssuerKeys gives the keys with which an organisation signs and has signed
// credentials, oldest first.
func (s *Store) IssuerKeys(ctx context.Context, org int64) (out []tidings.IssuerKey, err error) {
	err = s.query(ctx, "SELECT number, public_url, pem, created_at FROM issuer_key WHERE organisation_id = $1 ORDER BY number", []any{org}, func(r scanner) error {
		var k tidings.IssuerKey
		var created int64
		err := r.Scan(&k.Number, &k.PublicURL, &k.PEM, &created)
		k.CreatedAt = fromMillis(created)
		out = append(out, k)
		return err
	})
	return out, err
}

// IssuerKeyVersion gives the number of the organisation's newest key, 0 where
// there is none. It changes whenever a key is added, by whatever process.
func (s *Store) IssuerKeyVersion(ctx context.Context, org int64) (number int64, err error) {
	err = s.queryRow(ctx, "SELECT COALESCE(max(number), 0) FROM issuer_key WHERE organisation_id = $1", []any{org}, &number)
	return number, err
}

// AddIssuerKey adds a key, unless another was added meanwhile: then nothing
// changes and added is false.
func (s *Store) AddIssuerKey(ctx context.Context, org int64, k tidings.NewIssuerKey) (added bool, err error) {
	err = s.w.submit(ctx, classTransition, org, 2, func(t *tx) error {
		n, err := t.exec("INSERT INTO issuer_key (organisation_id, number, public_url, pem, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
			org, k.After+1, k.PublicURL, k.PEM, t.now)
		if added = n == 1; err != nil || !added {
			return err
		}
		return t.audit(org, k.By, k.Action, k.ID, k.Detail)
	})
	return added, err
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tidings"
)

// CreateIssuance makes an offer: the issuance, its credentials, the event
// "offered" and a delivery of it for each endpoint that wants it.
func (s *Store) CreateIssuance(ctx context.Context, org tidings.Organisation, n tidings.NewIssuance) (out tidings.Issuance, err error) {
	claims := make([]string, len(n.Credentials))
	for k, c := range n.Credentials {
		text, err := json.Marshal(c.Claims)
		if err != nil {
			return out, fmt.Errorf("encoding claims: %w", err)
		}
		claims[k] = string(text)
	}
	err = s.w.submit(ctx, classTransition, org.Key, 3+len(claims), func(t *tx) error {
		key, err := t.idempotent(org.Key, n.Idempotency, func() (int64, error) { return s.insertIssuance(t, org, n, claims) })
		if err != nil {
			return err
		}
		out, err = s.readIssuance(t.query, org.Key, key)
		return err
	})
	return out, err
}

func (s *Store) insertIssuance(t *tx, org tidings.Organisation, n tidings.NewIssuance, claims []string) (int64, error) {
	key, ends := t.key(), t.now+n.Life.Milliseconds()
	status := tidings.Issuance{State: tidings.StateOffered}.Status()
	err := t.later(`INSERT INTO issuance (id, organisation_id, state, status, deadline, expires_at, created_at, updated_at, tx_length, tx_mode, tx_hash, deferral)
		VALUES ($1, $2, $3, $4, $5, $5, $6, $6, $7, $8, $9, $10)`,
		key, org.Key, string(tidings.StateOffered), status, ends, t.now, n.TxCode.Length, string(n.TxCode.InputMode), n.TxCode.Hash, string(n.Deferral))
	if err != nil {
		return 0, err
	}
	for k, c := range n.Credentials {
		if err := t.notArchived(c); err != nil {
			return 0, err
		}
		err := t.later("INSERT INTO credential (id, issuance_id, template_id, status, issuance_status, claims) VALUES ($1, $2, $3, $4, $5, $6)",
			t.key(), key, c.Template.Key, string(tidings.CredentialOffered), status, claims[k])
		if err != nil {
			return 0, err
		}
	}
	t.states = append(t.states, tidings.StateOffered)
	_, err = s.tell(t, org.Key, tidings.IssuanceOffered, s.ids.public(key))
	return key, err
}

// Transition applies a step to an issuance: the new state and the events that
// tell of it, in one transaction. A refused step gives a [tidings.Refusal] and
// the issuance as it is.
func (s *Store) Transition(ctx context.Context, org int64, id string, step tidings.Step) (out tidings.Issuance, err error) {
	key, ok := s.ids.key(id)
	if !ok {
		return out, tidings.NotFound("issuance", id)
	}
	var refusal error
	err = s.w.submit(ctx, classTransition, org, 4, func(t *tx) (err error) {
		out, refusal, err = s.transition(t, org, key, step)
		return err
	})
	if err != nil {
		return out, notFound(err, "issuance", id)
	}
	return out, refusal
}

func (s *Store) transition(t *tx, org, key int64, step tidings.Step) (next tidings.Issuance, refusal, err error) {
	before, err := s.readIssuance(t.query, org, key)
	if err != nil {
		return before, nil, err
	}
	next, events, refusal := before.Apply(step, fromMillis(t.now))
	if nonce := nonceOf(step); nonce != (tidings.UsedNonce{}) && refusal == nil {
		spent, err := t.spend(nonce)
		if err != nil {
			return next, nil, err
		}
		if !spent {
			// The proof was used before: only what time alone did counts.
			next, events, _ = before.Apply(tidings.Tick{}, fromMillis(t.now))
			refusal = tidings.RefusedNonceUsed
		}
	}
	if err := t.writeIssuance(before, next); err != nil {
		return next, nil, err
	}
	if deliver, ok := step.(tidings.Deliver); ok && refusal == nil {
		if err := t.keepStatuses(*next.Credential(deliver.CredentialID), deliver.Statuses); err != nil {
			return next, nil, err
		}
	}
	if notify, ok := step.(tidings.Notify); ok && refusal == nil {
		if err := s.keepNotification(t, before, notify); err != nil {
			return next, nil, err
		}
	}
	if refusal == nil {
		if err := t.step(before, next, step); err != nil {
			return next, nil, err
		}
	}
	for _, typ := range events {
		if _, err := s.tell(t, before.Organisation.Key, typ, before.ID); err != nil {
			return next, nil, err
		}
	}
	return next, refusal, nil
}

// nonceOf gives the nonce that a step spends; zero where it spends none.
func nonceOf(step tidings.Step) tidings.UsedNonce {
	switch s := step.(type) {
	case tidings.Deliver:
		return s.Nonce
	case tidings.Defer:
		return s.Nonce
	}
	return tidings.UsedNonce{}
}

// spend marks a nonce as used, and tells whether this is its first use.
func (t *tx) spend(n tidings.UsedNonce) (bool, error) {
	added, err := t.exec("INSERT INTO nonce (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING", n.Hash[:], n.ExpiresAt.UnixMilli())
	return added == 1, err
}

// Spend marks what may come once as used, and tells whether this is its first use.
func (s *Store) Spend(ctx context.Context, n tidings.UsedNonce) (first bool, err error) {
	err = s.w.submit(ctx, classTransition, 0, 1, func(t *tx) (err error) {
		first, err = t.spend(n)
		return err
	})
	return first, err
}

func (s *Store) keepNotification(t *tx, of tidings.Issuance, n tidings.Notify) error {
	credential, _ := s.ids.key(n.CredentialID)
	if of.ClaimsDeleted() {
		n.Description = "" // it can be as personal as they were
	}
	return t.later("INSERT INTO notification (credential_id, event, description, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		credential, string(n.Event), n.Description, t.now)
}

// writeIssuance writes what a step changed, if the state is still that from
// which the step set out.
func (t *tx) writeIssuance(before, next tidings.Issuance) error {
	for k := range next.Credentials {
		if c := next.Credentials[k]; c.Status != before.Credentials[k].Status || c.Accepted != before.Credentials[k].Accepted || c.HolderKeys != before.Credentials[k].HolderKeys {
			if err := t.later("UPDATE credential SET status = $1, accepted = $2, holder_keys = $3 WHERE id = $4", string(c.Status), number(c.Accepted), c.HolderKeys, c.Key); err != nil {
				return err
			}
		}
	}
	status := next.Status()
	if next.State == before.State && status == before.Status() && next.UpdatedAt.Equal(before.UpdatedAt) && next.RetrievedAt == before.RetrievedAt && next.TxCode.Wrong == before.TxCode.Wrong &&
		next.Refreshed == before.Refreshed && next.Deferral == before.Deferral {
		return nil
	}
	var failure tidings.IssuanceError
	if next.Error != nil {
		failure = *next.Error
	}
	var retrieved time.Time
	if next.RetrievedAt != nil {
		retrieved = *next.RetrievedAt
	}
	var ended time.Time
	if next.State.Terminal() && !before.State.Terminal() {
		ended = next.UpdatedAt
	}
	err := t.expect(1, `UPDATE issuance SET state = $1, deadline = $2, retrieved_at = $3, accepted_by = $4, error_code = $5, error_message = $6, updated_at = $7, status = $8, error_details = $16,
		claims_since = COALESCE($9, claims_since), expires_at = $10, tx_wrong = $11, deferral = $12, refreshed = $13
		WHERE id = $14 AND state = $15`,
		string(next.State), null(next.Deadline), null(retrieved), string(next.AcceptedBy), failure.Code, failure.Message, next.UpdatedAt.UnixMilli(), status,
		null(ended), next.ExpiresAt.UnixMilli(), next.TxCode.Wrong, string(next.Deferral), next.Refreshed, next.Key, string(before.State), failure.Details)
	if next.State != before.State {
		t.states = append(t.states, next.State)
	}
	if err == nil && status != before.Status() {
		err = t.later("UPDATE credential SET issuance_status = $1 WHERE issuance_id = $2", status, next.Key)
	}
	return err
}

// SweepDeadlines applies deadlines that have passed, up to limit of them, and
// tells how many it found and when the next one passes (zero: none is set).
func (s *Store) SweepDeadlines(ctx context.Context, limit int) (swept int, next time.Time, err error) {
	due, next, err := s.dueIssuances(ctx, limit)
	if err != nil || len(due) == 0 {
		return 0, next, err
	}
	writes := make([]func(*tx) error, len(due))
	for i, d := range due {
		writes[i] = func(t *tx) error {
			_, _, err := s.transition(t, d.organisation, d.key, tidings.Tick{})
			return err
		}
	}
	return len(due), next, errors.Join(s.w.submitAll(classTransition, 3, writes)...)
}

type dueIssuance struct{ key, organisation int64 }

func (s *Store) dueIssuances(ctx context.Context, limit int) (due []dueIssuance, next time.Time, err error) {
	now := s.now().UnixMilli()
	err = s.query(ctx, "SELECT id, organisation_id, deadline FROM issuance WHERE deadline IS NOT NULL ORDER BY deadline LIMIT $1", []any{limit},
		func(r scanner) error {
			var d dueIssuance
			var deadline int64
			if err := r.Scan(&d.key, &d.organisation, &deadline); err != nil {
				return err
			}
			if deadline <= now {
				due = append(due, d)
			} else if next.IsZero() {
				next = fromMillis(deadline)
			}
			return nil
		})
	return due, next, err
}

const (
	issuanceTable   = "issuance i JOIN organisation o ON o.id = i.organisation_id"
	issuanceColumns = `i.id, i.state, i.deadline, i.expires_at, i.retrieved_at, i.accepted_by, i.error_code, i.error_message, i.error_details, i.created_at, i.updated_at,
		i.tx_length, i.tx_mode, i.tx_hash, i.tx_wrong, i.deferral, i.refreshed,
		o.id, o.slug, o.created_at`
)

func (s *Store) scanIssuance(r scanner) (i tidings.Issuance, err error) {
	var deadline, retrieved nullable
	var expires, created, updated, orgCreated int64
	var failure tidings.IssuanceError
	err = r.Scan(&i.Key, &i.State, &deadline, &expires, &retrieved, &i.AcceptedBy, &failure.Code, &failure.Message, &failure.Details, &created, &updated,
		&i.TxCode.Length, &i.TxCode.InputMode, &i.TxCode.Hash, &i.TxCode.Wrong, &i.Deferral, &i.Refreshed,
		&i.Organisation.Key, &i.Organisation.Slug, &orgCreated)
	i.ID, i.Deadline, i.ExpiresAt, i.RetrievedAt = s.ids.public(i.Key), deadline.time(), fromMillis(expires), retrieved.pointer()
	i.CreatedAt, i.UpdatedAt, i.Organisation.CreatedAt = fromMillis(created), fromMillis(updated), fromMillis(orgCreated)
	if failure.Code != "" {
		i.Error = &failure
	}
	return i, err
}

// querier reads rows, inside the writer's transaction or beside it.
type querier func(query string, args []any, scan func(scanner) error) error

// credentialColumns are those of a credential c.
const credentialColumns = "c.id, c.template_id, c.status, c.accepted, c.claims, c.holder_keys, (SELECT t.revocable FROM template t WHERE t.id = c.template_id)"

// credentialRow is what they are read into.
type credentialRow struct {
	tidings.Credential
	template int64
	claims   string
}

func (c *credentialRow) columns() []any {
	return []any{&c.Key, &c.template, &c.Status, &c.Accepted, &c.claims, &c.HolderKeys, &c.Revocable}
}

// add adds the credential to its issuance.
func (c *credentialRow) add(s *Store, to *tidings.Issuance) error {
	c.ID, c.TemplateID, c.ClaimsDeleted = s.ids.public(c.Key), s.ids.public(c.template), c.claims == ""
	if !c.ClaimsDeleted {
		if err := json.Unmarshal([]byte(c.claims), &c.Claims); err != nil {
			return err
		}
	}
	to.Credentials = append(to.Credentials, c.Credential)
	return nil
}

// joined is a row whose last columns belong to something else than its first.
type joined struct {
	scanner
	rest []any
}

// Scan reads the first columns into dest.
func (j joined) Scan(dest ...any) error { return j.scanner.Scan(append(dest, j.rest...)...) }

// oneIssuance reads an issuance with each of its credentials: it has one at
// least. Every step of a wallet reads it twice, so it is one query.
const oneIssuance = "SELECT " + issuanceColumns + ", " + credentialColumns + " FROM " + issuanceTable +
	" JOIN credential c ON c.issuance_id = i.id WHERE i.id = $1 AND i.organisation_id = $2 ORDER BY c.id"

// readIssuance reads one issuance with its credentials.
func (s *Store) readIssuance(query querier, org, key int64) (i tidings.Issuance, err error) {
	err = query(oneIssuance, []any{key, org}, func(r scanner) error {
		var c credentialRow
		found, err := s.scanIssuance(joined{r, c.columns()})
		if err != nil {
			return err
		}
		found.Credentials = i.Credentials
		i = found
		return c.add(s, &i)
	})
	if err == nil && i.Key == 0 {
		err = sql.ErrNoRows
	}
	return i, err
}

func (s *Store) readCredentials(query querier, i *tidings.Issuance) error {
	return query("SELECT "+credentialColumns+" FROM credential c WHERE c.issuance_id = $1 ORDER BY c.id", []any{i.Key}, func(r scanner) error {
		var c credentialRow
		if err := r.Scan(c.columns()...); err != nil {
			return err
		}
		return c.add(s, i)
	})
}

func (s *Store) reader(ctx context.Context) querier {
	return func(query string, args []any, scan func(scanner) error) error { return s.query(ctx, query, args, scan) }
}

// Issuance finds an issuance of the organisation, with its claims.
func (s *Store) Issuance(ctx context.Context, org int64, id string) (tidings.Issuance, error) {
	key, ok := s.ids.key(id)
	if !ok {
		return tidings.Issuance{}, tidings.NotFound("issuance", id)
	}
	i, err := s.readIssuance(s.reader(ctx), org, key)
	return i, notFound(err, "issuance", id)
}

// MadeBefore gives the issuance that the same request made before, as it is now,
// so that a repeated one needs nothing of what has gone since; ok is false where
// there is none.
func (s *Store) MadeBefore(ctx context.Context, org int64, idem *tidings.Idempotency) (i tidings.Issuance, ok bool, err error) {
	if idem == nil {
		return i, false, nil
	}
	row := func(text string, args []any, to ...any) error { return s.queryRow(ctx, text, args, to...) }
	keys, ok, err := madeBefore(row, org, idem, s.now().UnixMilli())
	if !ok || err != nil {
		return i, false, err
	}
	i, err = s.readIssuance(s.reader(ctx), org, keys[0])
	return i, err == nil, err
}

// Issuances lists the organisation's issuances, newest first.
func (s *Store) Issuances(ctx context.Context, org int64, f tidings.IssuanceFilter, p tidings.Page) (out tidings.List[tidings.Issuance], err error) {
	q, ok, err := s.selectIssuances(ctx, org, f)
	if err != nil || !ok {
		return out, err
	}
	out, err = list(ctx, s, q, p, s.byKey("issuance"), s.scanIssuance)
	for k := range out.Items {
		if err == nil {
			err = s.readCredentials(s.reader(ctx), &out.Items[k])
		}
	}
	return out, err
}

// selectIssuances turns a filter into a query that walks one index; ok tells
// whether anything can match.
func (s *Store) selectIssuances(ctx context.Context, org int64, f tidings.IssuanceFilter) (q listQuery, ok bool, err error) {
	q = listQuery{table: issuanceTable, columns: issuanceColumns, order: "i.id", newest: true}
	status := "i.status = $"
	if f.TemplateID != "" {
		template, err := s.Template(ctx, org, f.TemplateID)
		if err != nil {
			if tidings.KindOf(err) == tidings.KindNotFound {
				err = nil
			}
			return q, false, err
		}
		// By its first credential of that template, as it can have several.
		q.table = "credential c CROSS JOIN issuance i ON i.id = c.issuance_id JOIN organisation o ON o.id = i.organisation_id"
		q.order, status = "c.issuance_id", "c.issuance_status = $"
		q.add("c.template_id = $", template.Key)
		q.where = append(q.where, "NOT EXISTS (SELECT 1 FROM credential x WHERE x.issuance_id = c.issuance_id AND x.template_id = c.template_id AND x.id < c.id)")
	}
	q.add("i.organisation_id = $", org)
	if f.ID != "" {
		key, ours := s.ids.key(f.ID)
		if !ours {
			return q, false, nil
		}
		q.add(q.order+" = $", key)
	}
	if f.Status != "" {
		q.add(status, f.Status)
	}
	return q, true, nil
}

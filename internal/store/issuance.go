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
	it := &item{class: classTransition, organisation: org.Key, rows: 3 + len(claims), foresight: &foresight{tells: true, idem: n.Idempotency}}
	it.do = func(t *tx) error {
		keys, again, err := t.idempotentAll(org.Key, n.Idempotency, func() ([]int64, error) {
			out, err = s.insertIssuance(t, org, n, claims)
			return []int64{out.Key}, err
		})
		if err == nil && again {
			out, err = s.readIssuance(t.query, org.Key, keys[0])
		}
		return err
	}
	err = s.w.await(ctx, it)
	return out, err
}

// insertIssuance gives the issuance as it can be read once it is committed.
func (s *Store) insertIssuance(t *tx, org tidings.Organisation, n tidings.NewIssuance, claims []string) (out tidings.Issuance, err error) {
	for _, c := range n.Credentials {
		if err := t.notArchived(c); err != nil {
			return out, err
		}
	}
	now := fromMillis(t.now)
	out = tidings.Issuance{Key: t.key(), Organisation: org, State: tidings.StateOffered, CreatedAt: now, UpdatedAt: now,
		ExpiresAt: now.Add(n.Life.Truncate(time.Millisecond)), TxCode: tidings.TxCode{Length: n.TxCode.Length, InputMode: n.TxCode.InputMode, Hash: n.TxCode.Hash}, Deferral: n.Deferral}
	out.ID, out.Deadline = s.ids.public(out.Key), out.ExpiresAt
	into, status := &t.w.bulk.issuances, out.Status()
	err = t.put(insertIssuances, &into.issuances, out.Key, org.Key, string(out.State), status, out.Deadline.UnixMilli(), out.ExpiresAt.UnixMilli(), t.now, t.now,
		n.TxCode.Length, string(n.TxCode.InputMode), n.TxCode.Hash, string(n.Deferral))
	if err != nil {
		return out, err
	}
	for k, c := range n.Credentials {
		made := tidings.Credential{Key: t.key(), TemplateID: c.Template.ID, Status: tidings.CredentialOffered, Revocable: c.Template.Revocable, Claims: c.Claims}
		made.ID = s.ids.public(made.Key)
		out.Credentials = append(out.Credentials, made)
		if err := t.put(insertCredentials, &into.credentials, made.Key, out.Key, c.Template.Key, string(made.Status), status, claims[k]); err != nil {
			return out, err
		}
	}
	t.states = append(t.states, out.State)
	t.made = append(t.made, recentIssuance{out, claims})
	t.waiting[issuanceKey(out.ID)] = false // nothing can have been told of it
	_, err = s.tell(t, org.Key, tidings.IssuanceOffered, out.ID)
	return out, err
}

// Transition applies a step to an issuance: the new state and the events that
// tell of it, in one transaction. A refused step gives a [tidings.Refusal] and
// the issuance as it is. Either way it comes without its claims.
func (s *Store) Transition(ctx context.Context, org int64, id string, step tidings.Step) (out tidings.Issuance, err error) {
	key, ok := s.ids.key(id)
	if !ok {
		return out, tidings.NotFound("issuance", id)
	}
	var refusal error
	it := &item{class: classTransition, organisation: org, rows: 4, foresight: &foresight{issuance: key}}
	if nonce := nonceOf(step); nonce != (tidings.UsedNonce{}) {
		it.foresight.nonce = nonce.Hash[:]
	}
	switch step.(type) {
	case tidings.Retrieve, tidings.Redeem, tidings.Deliver: // they tell of it rarely
	default:
		it.foresight.tells, it.issuances = true, []int64{issuanceKey(id)}
	}
	it.do = func(t *tx) (err error) {
		out, refusal, err = s.transition(t, org, key, step)
		return err
	}
	if err = s.w.await(ctx, it); err != nil {
		return out, notFound(err, "issuance", id)
	}
	return out, refusal
}

func (s *Store) transition(t *tx, org, key int64, step tidings.Step) (next tidings.Issuance, refusal, err error) {
	before, err := s.issuance(t, org, key)
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
	taken := ""
	if refusal == nil {
		taken = describe(before, next, step, t.now)
	}
	if err := t.writeIssuance(before, next, taken); err != nil {
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
	for _, typ := range events {
		if _, err := s.tell(t, before.Organisation.Key, typ, before.ID); err != nil {
			return next, nil, err
		}
	}
	if !t.direct {
		t.known.issuances[key], t.known.collected[key] = next, true
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
	if used, ok := t.known.nonces[string(n.Hash[:])]; ok && !t.direct {
		if used {
			return false, nil
		}
		t.known.nonces[string(n.Hash[:])] = true
		return true, t.put(insertNonces, &t.w.bulk.issuances.nonces, n.Hash[:], n.ExpiresAt.UnixMilli())
	}
	added, err := t.exec("INSERT INTO nonce (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING", n.Hash[:], n.ExpiresAt.UnixMilli())
	return added == 1, err
}

// Spend marks what may come once as used, and tells whether this is its first use.
func (s *Store) Spend(ctx context.Context, n tidings.UsedNonce) (first bool, err error) {
	it := &item{class: classTransition, rows: 1, foresight: &foresight{nonce: n.Hash[:]}}
	it.do = func(t *tx) (err error) {
		first, err = t.spend(n)
		return err
	}
	err = s.w.await(ctx, it)
	return first, err
}

func (s *Store) keepNotification(t *tx, of tidings.Issuance, n tidings.Notify) error {
	credential, _ := s.ids.key(n.CredentialID)
	if of.ClaimsDeleted() {
		n.Description = "" // it can be as personal as they were
	}
	return t.put(insertNotifications, &t.w.bulk.issuances.notifications, credential, string(n.Event), n.Description, t.now)
}

// writeIssuance writes what a step changed, if the state is still that from
// which the step set out, and what is kept of the step itself.
func (t *tx) writeIssuance(before, next tidings.Issuance, taken string) error {
	into := &t.w.bulk.issuances
	was, is := changeable(before), changeable(next)
	for k, c := range next.Credentials {
		b := before.Credentials[k]
		statement, rows, values := updateCredentials, &into.updated, []any{c.Key, string(c.Status), number(c.Accepted), c.HolderKeys}
		if is.status != was.status {
			statement, rows, values = tellCredentials, &into.told, append(values, is.status)
		} else if c.Status == b.Status && c.Accepted == b.Accepted && c.HolderKeys == b.HolderKeys {
			continue
		}
		if err := t.put(statement, rows, values...); err != nil {
			return err
		}
	}
	if next.State != before.State {
		t.states = append(t.states, next.State)
	}
	retrieved, moved := was, was
	retrieved.retrieved = is.retrieved
	moved.state, moved.deadline, moved.updated = is.state, is.deadline, is.updated
	switch all := []any{next.Key, was.state, taken, is.state, is.deadline, is.retrieved, is.acceptedBy, is.failure.Code, is.failure.Message, is.failure.Details,
		is.updated, is.status, is.expires, is.wrong, is.deferral, is.refreshed}; {
	case is == was && taken == "":
		return nil
	case is == was:
		return t.put(noteSteps, &into.noted, next.Key, taken)
	case is == retrieved:
		return t.put(retrieveIssuances, &into.retrieved, next.Key, was.state, taken, is.retrieved)
	case next.State.Terminal() && !before.State.Terminal():
		return t.put(endIssuances, &into.ended, append(all, is.updated)...)
	case is == moved:
		return t.put(moveIssuances, &into.moved, next.Key, was.state, taken, is.state, is.deadline, is.updated)
	default:
		return t.put(changeIssuances, &into.changed, all...)
	}
}

// changeableRow is what steps change of an issuance's row. Times are milliseconds, 0
// for none.
type changeableRow struct {
	state, status, acceptedBy, deferral   string
	deadline, retrieved, updated, expires int64
	failure                               tidings.IssuanceError
	wrong, refreshed                      int
}

func changeable(i tidings.Issuance) changeableRow {
	r := changeableRow{state: string(i.State), status: i.Status(), acceptedBy: string(i.AcceptedBy), deferral: string(i.Deferral),
		updated: i.UpdatedAt.UnixMilli(), expires: i.ExpiresAt.UnixMilli(), wrong: i.TxCode.Wrong, refreshed: i.Refreshed}
	if !i.Deadline.IsZero() {
		r.deadline = i.Deadline.UnixMilli()
	}
	if i.RetrievedAt != nil {
		r.retrieved = i.RetrievedAt.UnixMilli()
	}
	if i.Error != nil {
		r.failure = *i.Error
	}
	return r
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

// credentialColumns are those of a credential c, with the expression for its claims.
func credentialColumns(claims string) string {
	return "c.id, c.template_id, c.status, c.accepted, " + claims + ", c.holder_keys, (SELECT t.revocable FROM template t WHERE t.id = c.template_id)"
}

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
	if !c.ClaimsDeleted && c.claims != kept {
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
var oneIssuance = "SELECT " + issuanceColumns + ", " + credentialColumns("c.claims") + " FROM " + issuanceTable +
	" JOIN credential c ON c.issuance_id = i.id WHERE i.id = $1 AND i.organisation_id = $2 ORDER BY c.id"

// readIssuance reads one issuance with its credentials.
func (s *Store) readIssuance(query querier, org, key int64) (i tidings.Issuance, err error) {
	err = query(oneIssuance, []any{key, org}, func(r scanner) error {
		found, err := s.scanWhole(r)
		found.Credentials = append(i.Credentials, found.Credentials...)
		i = found
		return err
	})
	if err == nil && i.Key == 0 {
		err = sql.ErrNoRows
	}
	return i, err
}

// scanWhole reads an issuance with one of its credentials.
func (s *Store) scanWhole(r scanner) (i tidings.Issuance, err error) {
	var c credentialRow
	if i, err = s.scanIssuance(joined{r, c.columns()}); err != nil {
		return i, err
	}
	return i, c.add(s, &i)
}

func (s *Store) readCredentials(query querier, i *tidings.Issuance) error {
	return query("SELECT "+credentialColumns("c.claims")+" FROM credential c WHERE c.issuance_id = $1 ORDER BY c.id", []any{i.Key}, func(r scanner) error {
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
	if i, ok := s.w.recent.whole(org, key); ok {
		return i, nil
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

// selectIssuances turns a filter into a query that walks an index in order of key,
// for any status as many ranges of it as there are statuses; ok tells whether anything
// can match.
func (s *Store) selectIssuances(ctx context.Context, org int64, f tidings.IssuanceFilter) (q listQuery, ok bool, err error) {
	from, status := "issuance i", "i.status"
	q = listQuery{columns: issuanceColumns, order: "i.id", newest: true}
	if f.TemplateID == "" {
		q.add("i.organisation_id = $", org)
	} else {
		template, err := s.Template(ctx, org, f.TemplateID)
		if err != nil {
			if tidings.KindOf(err) == tidings.KindNotFound {
				err = nil
			}
			return q, false, err
		}
		// By its first credential of that template, as it can have several. The plus
		// keeps the database from walking all credentials of the template for it.
		from, status, q.order = "credential c", "c.issuance_status", "c.issuance_id"
		q.add("c.template_id = $", template.Key)
		q.where = append(q.where, "NOT EXISTS (SELECT 1 FROM credential x WHERE x.issuance_id = c.issuance_id AND +x.template_id = c.template_id AND x.id < c.id)")
	}
	if f.ID != "" {
		key, ours := s.ids.key(f.ID)
		if !ours {
			return q, false, nil
		}
		q.add(q.order+" = $", key)
	}
	q.merge, q.table = &merge{table: from}, "issuance i ON i.id = found.id JOIN organisation o ON o.id = i.organisation_id"
	for _, each := range issuanceStatuses {
		if f.Status == "" || f.Status == each {
			q.merge.ranges = append(q.merge.ranges, status+" = '"+each+"'")
		}
	}
	return q, len(q.merge.ranges) > 0, nil
}

// issuanceStatuses are those that an issuance is shown with; see [tidings.Issuance.Status].
var issuanceStatuses = []string{"offered", "partiallyIssued", "completed", "failed", "expired"}

package store

import (
	"context"
	"crypto/aes"
	"database/sql"
	"encoding/binary"
	"errors"
	"strconv"
	"sync"

	"tidings"
)

// Every signed copy of a revocable credential has a place of its own in a status
// list. Places are counted in the list's row and handed out in ranges, so that
// none is given out twice: not by two processes, and not after a crash, which
// loses what is left of a range. Where the n-th place lies only this
// installation can compute; so an index says nothing of when it was given out.

// statusRange is how many places a process takes at once.
const statusRange = 64

// statusPools are the places that this process may give out.
type statusPools struct {
	mu     sync.Mutex
	owners map[int64]*statusPool // by organisation
}

type statusPool struct {
	mu        sync.Mutex
	list      int64
	next, end int64 // what is left of the range
}

func (p *statusPools) of(org int64) *statusPool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owners == nil {
		p.owners = map[int64]*statusPool{}
	}
	if p.owners[org] == nil {
		p.owners[org] = &statusPool{}
	}
	return p.owners[org]
}

// StatusIndex gives a place in a status list that was never given out before
// and never will be again, be it used or not.
func (s *Store) StatusIndex(ctx context.Context, org int64) (tidings.StatusIndex, error) {
	p := s.places.of(org)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		err := s.w.submit(ctx, classTransition, org, 2, func(t *tx) (err error) {
			p.list, p.end, err = t.leaseStatuses(org, s.statusListSize)
			return err
		})
		if err != nil {
			p.next = p.end
			return tidings.StatusIndex{}, err
		}
		p.next = p.end - statusRange
	}
	place := p.next
	p.next++
	return tidings.StatusIndex{ListKey: p.list, ListID: s.ids.public(p.list), Index: s.ids.scatter(p.list, place)}, nil
}

// leaseStatuses takes a range of an organisation's newest list, or of another
// one where that is full, and gives the range's end.
func (t *tx) leaseStatuses(org, size int64) (list, end int64, err error) {
	err = t.queryRow("SELECT id, leased FROM status_list WHERE organisation_id = $1 ORDER BY id DESC LIMIT 1", []any{org}, &list, &end)
	if errors.Is(err, sql.ErrNoRows) || err == nil && end+statusRange > size {
		list, end = t.key(), 0
		_, err = t.exec("INSERT INTO status_list (id, organisation_id, leased, version) VALUES ($1, $2, 0, 1)", list, org)
	}
	if err != nil {
		return 0, 0, err
	}
	changed, err := t.exec("UPDATE status_list SET leased = leased + $1 WHERE id = $2 AND leased = $3", statusRange, list, end)
	if err == nil && changed != 1 {
		err = tidings.Unavailable(0, nil, "Another process took the same places of a status list; try again.")
	}
	return list, end + statusRange, err
}

// scatter is a permutation of a list's places: a Feistel network over 8 and 9
// bits, whose round function is AES. Its blocks differ in their ninth byte from
// those that make public ids.
func (c ids) scatter(list, place int64) int {
	const leftBits, rightBits = 8, 9
	left, right := uint16(place>>rightBits), uint16(place&(1<<rightBits-1))
	for round := range byte(10) {
		var b [aes.BlockSize]byte
		binary.BigEndian.PutUint64(b[:], uint64(list))
		b[8], b[9] = 1, round
		if round%2 == 0 {
			binary.BigEndian.PutUint16(b[10:], right)
			c.block.Encrypt(b[:], b[:])
			left ^= binary.BigEndian.Uint16(b[:]) & (1<<leftBits - 1)
		} else {
			binary.BigEndian.PutUint16(b[10:], left)
			c.block.Encrypt(b[:], b[:])
			right ^= binary.BigEndian.Uint16(b[:]) & (1<<rightBits - 1)
		}
	}
	return int(left)<<rightBits | int(right)
}

// keepStatuses writes which credential has which places, in the transaction
// that delivers it. A copy of a suspended credential is suspended.
func (t *tx) keepStatuses(c tidings.Credential, places []tidings.StatusIndex) error {
	for _, p := range places {
		err := t.later("INSERT INTO status_entry (list_id, idx, credential_id, value) VALUES ($1, $2, $3, $4)", p.ListKey, p.Index, c.Key, int64(c.Status.Value()))
		if err != nil {
			return err
		}
		if c.Status.Value() != tidings.StatusValid {
			if err := t.touchStatusList(p.ListKey); err != nil {
				return err
			}
		}
	}
	return nil
}

// touchStatusList makes every process publish the list anew.
func (t *tx) touchStatusList(list int64) error {
	return t.later("UPDATE status_list SET version = version + 1 WHERE id = $1", list)
}

// ChangeCredentials revokes, suspends or resumes credentials of the
// organisation, all or none, in one transaction with the events that tell of
// it. Errors point to "/ids/N".
func (s *Store) ChangeCredentials(ctx context.Context, org int64, ids []string, change tidings.StatusChange, o tidings.Origin) error {
	return s.w.submit(ctx, classTransition, org, 5*len(ids), func(t *tx) error {
		var wanted []credentialKeys
		for k, id := range ids {
			found, err := s.findCredential(t, org, id)
			if tidings.KindOf(err) == tidings.KindNotFound && err != nil {
				return tidings.Invalid("/ids/"+strconv.Itoa(k), "There is no credential %q.", id)
			}
			if err != nil {
				return err
			}
			wanted = append(wanted, found)
		}
		return s.changeCredentials(t, org, wanted, change, o)
	})
}

// RevokeByID revokes the credential of that id or, where it is an issuance's,
// all of its credentials that wallets have and that are not revoked so far.
func (s *Store) RevokeByID(ctx context.Context, org int64, id string, o tidings.Origin) error {
	return s.w.submit(ctx, classTransition, org, 5, func(t *tx) error {
		c, err := s.findCredential(t, org, id)
		if err == nil {
			return withoutPointer(s.changeCredentials(t, org, []credentialKeys{c}, tidings.Revoke, o))
		}
		key, ours := s.ids.key(id)
		if tidings.KindOf(err) != tidings.KindNotFound {
			return err
		}
		if !ours {
			return tidings.NotFound("issuance or credential", id)
		}
		i, err := s.readIssuance(t.query, org, key)
		if err != nil {
			return notFound(err, "issuance or credential", id)
		}
		var wanted []credentialKeys
		for _, c := range i.Credentials {
			if c.Status.Delivered() && c.Status != tidings.CredentialRevoked {
				wanted = append(wanted, credentialKeys{i.Key, c.Key})
			}
		}
		if len(wanted) == 0 { // every one gives the same answer
			wanted = []credentialKeys{{i.Key, i.Credentials[0].Key}}
		}
		return withoutPointer(s.changeCredentials(t, org, wanted, tidings.Revoke, o))
	})
}

type credentialKeys struct{ issuance, credential int64 }

const ownCredential = "SELECT c.issuance_id, c.id FROM credential c JOIN issuance i ON i.id = c.issuance_id WHERE c.id = $1 AND i.organisation_id = $2"

func (s *Store) findCredential(t *tx, org int64, id string) (c credentialKeys, err error) {
	key, ok := s.ids.key(id)
	if !ok {
		return c, tidings.NotFound("credential", id)
	}
	err = t.queryRow(ownCredential, []any{key, org}, &c.issuance, &c.credential)
	return c, notFound(err, "credential", id)
}

// changeCredentials decides about all before it writes anything.
func (s *Store) changeCredentials(t *tx, org int64, wanted []credentialKeys, change tidings.StatusChange, o tidings.Origin) error {
	issuances := map[int64]tidings.Issuance{}
	type changed struct {
		next  tidings.Issuance
		place int // of the credential in it
		event tidings.EventType
	}
	var changes []changed
	for k, w := range wanted {
		i, known := issuances[w.issuance]
		if !known {
			var err error
			if i, err = s.readIssuance(t.query, org, w.issuance); err != nil {
				return err
			}
		}
		issuances[w.issuance] = i
		for place, c := range i.Credentials {
			if c.Key != w.credential {
				continue
			}
			status, event, err := c.Change(change)
			if err != nil {
				return atID(err, k)
			}
			i.Credentials[place].Status = status // the same slice as in the map
			changes = append(changes, changed{i, place, event})
		}
	}
	// A deadline that has passed is told of first: what is done now came later.
	for key, i := range issuances {
		if !i.State.Terminal() && i.Deadline.UnixMilli() <= t.now {
			if _, _, err := s.transition(t, org, key, tidings.Tick{}); err != nil {
				return err
			}
		}
	}
	lists := map[int64]bool{}
	for _, c := range changes {
		if err := s.writeStatus(t, c.next, c.next.Credentials[c.place], c.event, o, lists); err != nil {
			return err
		}
	}
	for list := range lists {
		if err := t.touchStatusList(list); err != nil {
			return err
		}
	}
	return nil
}

const entriesOf = "SELECT list_id FROM status_entry WHERE credential_id = $1"

// writeStatus writes a credential's new state, in all places that it has, and
// the event. It adds to lists those that have to be published anew.
func (s *Store) writeStatus(t *tx, i tidings.Issuance, c tidings.Credential, event tidings.EventType, o tidings.Origin, lists map[int64]bool) error {
	if _, err := t.exec("UPDATE credential SET status = $1 WHERE id = $2", string(c.Status), c.Key); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE issuance SET updated_at = $1 WHERE id = $2", t.now, i.Key); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE status_entry SET value = $1 WHERE credential_id = $2", int64(c.Status.Value()), c.Key); err != nil {
		return err
	}
	err := t.query(entriesOf, []any{c.Key}, func(r scanner) error {
		var list int64
		err := r.Scan(&list)
		lists[list] = true
		return err
	})
	if err != nil {
		return err
	}
	payload := tidings.EventPayload{OpenID4VCIssuanceID: i.ID, OpenID4VCCredentialID: c.ID}
	if _, err := s.accept(t, i.Organisation.Key, event, payload, 0); err != nil {
		return err
	}
	return t.audit(i.Organisation.Key, o.By, "credential."+string(c.Status), c.ID, "")
}

// atID makes an error point to the k-th id of the request.
func atID(err error, k int) error {
	if e, ok := errors.AsType[*tidings.Error](err); ok {
		at := *e
		at.Pointer = "/ids/" + strconv.Itoa(k)
		return &at
	}
	return err
}

// withoutPointer is for an id that stood in the path.
func withoutPointer(err error) error {
	if e, ok := errors.AsType[*tidings.Error](err); ok {
		bare := *e
		bare.Pointer = ""
		return &bare
	}
	return err
}

// StatusListVersion tells which version of a list is to be published, and the
// list's key.
func (s *Store) StatusListVersion(ctx context.Context, org int64, id string) (list, version int64, err error) {
	list, ok := s.ids.key(id)
	if !ok {
		return 0, 0, tidings.NotFound("status list", id)
	}
	err = s.queryRow(ctx, "SELECT version FROM status_list WHERE id = $1 AND organisation_id = $2", []any{list, org}, &version)
	return list, version, notFound(err, "status list", id)
}

// entriesSet finds the entries of a list that are not valid: few, in an index
// of their own.
const entriesSet = "SELECT idx, value FROM status_entry WHERE list_id = $1 AND value <> 0"

// StatusList reads a list for publishing.
func (s *Store) StatusList(ctx context.Context, org int64, id string) (l tidings.StatusList, err error) {
	// The version first: a change in between is published under the older one
	// too, and again under its own.
	l.ID, l.Values = id, map[int]tidings.StatusValue{}
	if l.Key, l.Version, err = s.StatusListVersion(ctx, org, id); err != nil {
		return l, err
	}
	err = s.query(ctx, entriesSet, []any{l.Key}, func(r scanner) error {
		var index int
		var value tidings.StatusValue
		err := r.Scan(&index, &value)
		l.Values[index] = value
		return err
	})
	return l, err
}

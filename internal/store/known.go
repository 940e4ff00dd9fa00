package store

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"tidings"
)

// This file has the steps of issuances share what each of them would ask the
// database by itself: it is read once for all of them that a batch holds, and what
// they change is collected like the rest (see bulk).

// foresight is what an item will ask for. An item that has one reads nothing of
// what a batch collects but by way of [known].
type foresight struct {
	issuance int64  // whose step it is; 0: none that is there already
	nonce    []byte // that it spends; nil: none
	tells    bool   // it writes an event, most likely
	idem     *tidings.Idempotency
}

// requestKey is an idempotency key with whose it is.
type requestKey struct {
	organisation int64
	route, key   string
}

// foresees tells whether it is known what the item will ask for.
func (it *item) foresees() bool { return it.class == classPublish || it.foresight != nil }

// known is what a batch knows of issuances, as its steps have left them.
type known struct {
	issuances map[int64]tidings.Issuance // without their claims
	collected map[int64]bool             // issuances of which what is collected says something
	nonces    map[string]bool            // whether it was used
	templates map[int64]bool             // one can be issued from
	requests  map[requestKey]requestMade
}

// forget has everything be read anew, as what comes may change all of it.
func (t *tx) forget() {
	t.ahead, t.known = false, known{}
	clear(t.waiting)
}

// kept stands for claims where nobody asks for more than whether they are there.
const kept = "kept"

var (
	issuancesOfSteps = bulkStatement{before: "WITH v (issuance, organisation) AS (", types: "ii", cast: true,
		behind: ") SELECT " + issuanceColumns + ", " + credentialColumns("CASE c.claims WHEN '' THEN '' ELSE '"+kept+"' END") +
			" FROM v CROSS JOIN issuance i ON i.id = v.issuance AND i.organisation_id = v.organisation CROSS JOIN organisation o ON o.id = i.organisation_id CROSS JOIN credential c ON c.issuance_id = i.id",
		// Row by row, as with deleteEnded. So it is below.
		columns: "SELECT x.* FROM :rows AS v (issuance, organisation), LATERAL (SELECT " + issuanceColumns + ", " + credentialColumns("CASE c.claims WHEN '' THEN '' ELSE '"+kept+"' END") +
			" FROM " + issuanceTable + " JOIN credential c ON c.issuance_id = i.id WHERE i.id = v.issuance AND i.organisation_id = v.organisation OFFSET 0) AS x"}
	noncesUsed = bulkStatement{before: "WITH v (hash) AS (", behind: ") SELECT v.hash FROM v WHERE (SELECT 1 FROM nonce n WHERE n.hash = v.hash) = 1", types: "b", arrays: true}

	requestsMade = bulkStatement{before: "WITH v (organisation, route, key) AS (", types: "itt", arrays: true,
		behind: ") SELECT v.organisation, v.route, v.key, d.hash, d.made, d.expires_at FROM v CROSS JOIN idempotency d ON d.organisation_id = v.organisation AND d.route = v.route AND d.key = v.key",
		columns: "SELECT v.*, x.* FROM :rows AS v (organisation, route, key), LATERAL (SELECT d.hash, d.made, d.expires_at FROM idempotency d" +
			" WHERE d.organisation_id = v.organisation AND d.route = v.route AND d.key = v.key OFFSET 0) AS x"}

	insertRequests = bulkStatement{before: "INSERT INTO idempotency (organisation_id, route, key, hash, made, expires_at) ", types: "ittbti",
		behind: " ON CONFLICT (organisation_id, route, key) DO UPDATE SET hash = excluded.hash, made = excluded.made, expires_at = excluded.expires_at"}
	insertNonces        = insertInto("nonce", "hash, expires_at", "bi")
	insertIssuances     = insertInto("issuance", "id, organisation_id, state, status, deadline, expires_at, created_at, updated_at, tx_length, tx_mode, tx_hash, deferral", "iittiiiiitbt")
	insertCredentials   = insertInto("credential", "id, issuance_id, template_id, status, issuance_status, claims", "iiittt")
	insertNotifications = bulkStatement{before: "INSERT INTO notification (credential_id, event, description, created_at) ", behind: " ON CONFLICT DO NOTHING", types: "itti"}

	// What a step changes decides which indexes have to be written: few of them,
	// mostly.
	noteSteps         = updateOf("issuance", "id", "steps+", "it")
	retrieveIssuances = updateOf("issuance", "id state", "steps+ retrieved_at?", "itti")
	moveIssuances     = updateOf("issuance", "id state", "steps+ state deadline? updated_at", "itttii")
	changeIssuances   = updateOf("issuance", "id state", allOfIssuance, "itttiittttitiiti")
	endIssuances      = updateOf("issuance", "id state", allOfIssuance+" claims_since", "itttiittttitiitii")
	updateCredentials = updateOf("credential", "id", "status accepted holder_keys", "itit")
	tellCredentials   = updateOf("credential", "id", "status accepted holder_keys issuance_status", "ititt")
)

// allOfIssuance are the columns that steps change, but for the one of the end.
const allOfIssuance = "steps+ state deadline? retrieved_at? accepted_by error_code error_message error_details updated_at status expires_at tx_wrong deferral refreshed"

// updateOf makes the statement that sets columns of the rows that have the keys.
// A column with a question mark is NULL where 0 is given; to one with a plus the
// value is appended, as long as it is not too long already.
func updateOf(table, keys, columns, types string) bulkStatement {
	var names []string
	var set, where [2][]string // of the statement for one row, and of the one for many
	for i, name := range strings.Fields(keys + " " + columns) {
		name, nullable := strings.CutSuffix(name, "?")
		name, appended := strings.CutSuffix(name, "+")
		n := strconv.Itoa(i + 1)
		names = append(names, "c"+n)
		for k, value := range [2]string{"$" + n, "v.c" + n} {
			switch {
			case nullable:
				value = "NULLIF(" + value + ", 0)"
			case appended:
				value = "CASE WHEN length(" + table + "." + name + ") < " + strconv.Itoa(maxAppended) + " THEN " + table + "." + name + " || " + value + " ELSE " + table + "." + name + " END"
			}
			if i < len(strings.Fields(keys)) {
				where[k] = append(where[k], table+"."+name+" = "+value)
			} else {
				set[k] = append(set[k], name+" = "+value)
			}
		}
	}
	update := func(k int) string { return "UPDATE " + table + " SET " + strings.Join(set[k], ", ") }
	first, _, _ := strings.Cut(keys, " ")
	return bulkStatement{types: types, arrays: true, exact: first == "id", single: update(0) + condition(where[0]),
		// The first key once more, so that no plan walks the table.
		columns: update(1) + " FROM :rows AS v (" + strings.Join(names, ", ") + ")" + condition(append(where[1], table+"."+first+" = ANY ($1)"))}
}

// issuanceRows is what a batch has collected of issuances.
type issuanceRows struct {
	issuances, credentials, noted, retrieved, moved, changed, ended, updated, told, nonces, notifications, requests rows
}

func (r *issuanceRows) collected() []collected {
	return []collected{
		{insertIssuances, &r.issuances}, {insertCredentials, &r.credentials},
		{noteSteps, &r.noted}, {retrieveIssuances, &r.retrieved}, {moveIssuances, &r.moved}, {changeIssuances, &r.changed}, {endIssuances, &r.ended},
		{updateCredentials, &r.updated}, {tellCredentials, &r.told},
		{insertNonces, &r.nonces}, {insertNotifications, &r.notifications}, {insertRequests, &r.requests},
	}
}

// foresee reads what the steps among items ask for.
func (t *tx) foresee(items []*item) error {
	t.known = known{issuances: map[int64]tidings.Issuance{}, collected: map[int64]bool{}, nonces: map[string]bool{}, templates: map[int64]bool{}, requests: map[requestKey]requestMade{}}
	if t.isolate {
		return nil // each asks by itself
	}
	t.remember(items)
	var issuances, nonces, requests rows
	asked := map[int64]bool{}
	for _, it := range items {
		f := it.foresight
		if f == nil {
			continue
		}
		if _, there := t.known.issuances[f.issuance]; f.issuance != 0 && !there && !asked[f.issuance] {
			asked[f.issuance] = true
			issuances.add(f.issuance, it.organisation)
		}
		if _, there := t.known.nonces[string(f.nonce)]; f.nonce != nil && !there {
			t.known.nonces[string(f.nonce)] = false
			nonces.add(f.nonce)
		}
		if f.idem == nil {
			continue
		}
		key := requestKey{it.organisation, f.idem.Route, f.idem.Key}
		if _, there := t.known.requests[key]; !there {
			t.known.requests[key] = requestMade{}
			requests.add(key.organisation, key.route, key.key)
		}
	}
	return errors.Join(t.ask(noncesUsed, &nonces, t.seeNonce), t.ask(requestsMade, &requests, t.seeRequest),
		t.ask(issuancesOfSteps, &issuances, t.seeIssuance))
}

func (t *tx) seeNonce(r scanner) error {
	var hash []byte
	err := r.Scan(&hash)
	t.known.nonces[string(hash)] = true
	return err
}

func (t *tx) seeRequest(r scanner) error {
	var key requestKey
	var hash []byte
	var made string
	var expires int64
	err := r.Scan(&key.organisation, &key.route, &key.key, &hash, &made, &expires)
	if expires > t.now {
		t.known.requests[key] = requestMade{string(hash), made}
	}
	return err
}

func (t *tx) seeIssuance(r scanner) error {
	i, err := t.w.scanWhole(r)
	i.Credentials = append(t.known.issuances[i.Key].Credentials, i.Credentials...)
	slices.SortFunc(i.Credentials, func(a, b tidings.Credential) int { return cmp.Compare(a.Key, b.Key) })
	t.known.issuances[i.Key] = i
	return err
}

// issuance gives an issuance as it is at this point of the batch, for a step.
func (s *Store) issuance(t *tx, org, key int64) (tidings.Issuance, error) {
	if i, ok := t.known.issuances[key]; ok && !t.direct && i.Organisation.Key == org {
		if t.known.collected[key] {
			return i, t.settle() // two changes of one row cannot be made by one statement
		}
		return i, nil
	}
	return s.readIssuance(t.query, org, key)
}

package store_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// keeper is a store whose claims go a week after the end, with issuances in all
// states. Each certifies a text of its own.
type keeper struct {
	*opened
	dir      string
	template tidings.Template
	made     map[string]tidings.Issuance // by what became of it
}

const claimsKept = 7 * 24 * time.Hour

// canary is a text that the claims of an issuance hold. It is longer than a page
// of the database and can be told on every page.
func canary(of string) string { return strings.Repeat("canary-"+of+" ", 500) }

func (k *keeper) open(t *testing.T) {
	t.Helper()
	var err error
	if k.Store, err = store.Open(t.Context(), store.Options{Dir: k.dir, Database: database(t, k.dir), Now: k.clock.Now, ClaimsRetention: claimsKept}); err != nil {
		t.Fatal(err)
	}
	k.org = organisation(t, k.Store, "default")
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{opened: &opened{clock: newClock()}, dir: t.TempDir(), made: map[string]tidings.Issuance{}}
	k.open(t)
	t.Cleanup(func() { k.Store.Close() })
	var err error
	k.template, err = k.CreateTemplate(t.Context(), k.org.Key, tidings.NewTemplate{Name: "T", Code: "t", Attributes: map[string]tidings.Attribute{"a": {Type: tidings.AttributeString}}})
	if err != nil {
		t.Fatal(err)
	}
	redeem := tidings.Redeem{AccessLife: 5 * time.Minute}
	for name, steps := range map[string]func(i tidings.Issuance) []tidings.Step{
		"expired":   func(tidings.Issuance) []tidings.Step { return nil },
		"abandoned": func(tidings.Issuance) []tidings.Step { return []tidings.Step{redeem} },
		"incomplete": func(i tidings.Issuance) []tidings.Step {
			return []tidings.Step{redeem, deliver(i, 0)}
		},
		"completed": func(i tidings.Issuance) []tidings.Step {
			return []tidings.Step{redeem, deliver(i, 0), deliver(i, 1)}
		},
		"refused": func(i tidings.Issuance) []tidings.Step {
			return []tidings.Step{redeem, deliver(i, 0), deliver(i, 1),
				tidings.Notify{CredentialID: i.Credentials[0].ID, Event: tidings.NotifyFailure, Description: "canary-refused-words"}}
		},
	} {
		i := k.offer(t, name, time.Hour)
		for _, step := range steps(i) {
			k.step(t, i, step)
		}
		k.made[name] = i
	}
	denied := k.offerOf(t, "denied", tidings.NewIssuance{Life: time.Hour, Deferral: tidings.DeferralPending})
	k.step(t, denied, tidings.Redeem{DeferralLife: time.Hour})
	k.step(t, denied, tidings.Defer{CredentialID: denied.Credentials[0].ID, Nonce: tidings.UsedNonce{Hash: [16]byte{1}}, Keys: "canary-denied-keys"})
	k.step(t, denied, tidings.Decide{Decision: tidings.Deny, Reason: "canary-denied-words"})
	k.made["denied"] = denied
	k.made["open"] = k.offer(t, "open", 90*24*time.Hour)
	return k
}

func deliver(i tidings.Issuance, k int) tidings.Deliver {
	id := i.Credentials[k].ID
	return tidings.Deliver{CredentialID: id, Grace: 10 * time.Second, Nonce: tidings.UsedNonce{Hash: [16]byte([]byte(id[len(id)-16:]))}}
}

// offer offers two credentials.
func (k *keeper) offer(t *testing.T, name string, life time.Duration) tidings.Issuance {
	t.Helper()
	return k.offerOf(t, name, tidings.NewIssuance{Life: life})
}

func (k *keeper) offerOf(t *testing.T, name string, n tidings.NewIssuance) tidings.Issuance {
	t.Helper()
	c := tidings.NewCredential{Template: k.template, Claims: map[string]any{"a": canary(name)}}
	n.Credentials = []tidings.NewCredential{c, c}
	i, err := k.CreateIssuance(t.Context(), k.org, n)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (k *keeper) step(t *testing.T, i tidings.Issuance, s tidings.Step) {
	t.Helper()
	if _, err := k.Transition(t.Context(), k.org.Key, i.ID, s); err != nil {
		t.Fatalf("%T: %v", s, err)
	}
}

// pass lets time pass and applies the deadlines.
func (k *keeper) pass(t *testing.T, d time.Duration) {
	t.Helper()
	k.clock.Advance(d)
	if _, _, err := k.SweepDeadlines(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
}

func (k *keeper) forget(t *testing.T) {
	t.Helper()
	finish(t, func(int) (int, error) { return k.DeleteClaims(t.Context(), 2) })
}

// inFiles tells of whose claims anything stands in the files of the store.
func (k *keeper) inFiles(t *testing.T) (names []string) {
	t.Helper()
	if server != "" {
		return k.inRows(t)
	}
	files, err := filepath.Glob(filepath.Join(k.dir, "tidings.db*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	for name := range k.made {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("canary-"+name)) {
				names = append(names, name)
				break
			}
		}
	}
	slices.Sort(names)
	return names
}

// inRows tells the same of PostgreSQL's rows: what its files keep of those that
// were deleted is up to its vacuum.
func (k *keeper) inRows(t *testing.T) (names []string) {
	t.Helper()
	db, err := sql.Open("pgx", database(t, k.dir)+"&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tables []string
	rows, err := db.Query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	if err := rows.Err(); err != nil || len(tables) < 20 {
		t.Fatal(tables, err)
	}
	for name := range k.made {
		for _, table := range tables {
			var found bool
			if err := db.QueryRow("SELECT EXISTS (SELECT 1 FROM " + table + " t WHERE t::text LIKE '%canary-" + name + "%')").Scan(&found); err != nil {
				t.Fatal(err)
			}
			if found {
				names = append(names, name)
				break
			}
		}
	}
	slices.Sort(names)
	return names
}

func (k *keeper) holds(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := k.inFiles(t); !slices.Equal(got, want) {
		t.Errorf("after %v the files hold claims of %v, want %v", k.clock.Now().Sub(newClock().Now()), got, want)
	}
	for name, made := range k.made {
		i, err := k.Issuance(t.Context(), k.org.Key, made.ID)
		if err != nil {
			t.Fatal(err)
		}
		if kept := slices.Contains(want, name); i.ClaimsDeleted() == kept || (i.Credentials[1].Claims["a"] == canary(name)) != kept {
			t.Errorf("%s (%s): claims are deleted: %v", name, i.State, i.ClaimsDeleted())
		}
	}
	k.sound(t)
}

// Claims go a week after the end of their issuance, whichever it was, and from
// every file; those of one that goes on stay; a crash in between is no matter.
func TestClaimsGoSomeTimeAfterTheEnd(t *testing.T) {
	k := newKeeper(t)
	all := []string{"open", "expired", "abandoned", "incomplete", "completed", "refused", "denied"}
	k.pass(t, 30*time.Minute) // all have ended but those
	k.forget(t)
	k.holds(t, all...)
	k.pass(t, 30*time.Minute)
	k.pass(t, claimsKept-time.Hour+time.Millisecond)
	k.forget(t)
	k.holds(t, "open", "expired", "abandoned", "incomplete", "completed") // refused and denied at once
	k.clock.Advance(30 * time.Minute)
	if n, err := k.DeleteClaims(t.Context(), 2); err != nil || n != 2 {
		t.Fatalf("a step deletes %d, %v", n, err)
	}
	k.Store.Close()
	k.open(t)
	k.forget(t)
	k.holds(t, "open", "expired")
	k.clock.Advance(claimsKept)
	k.forget(t)
	k.holds(t, "open")
	states := map[tidings.IssuanceState]int{}
	l, err := k.Issuances(t.Context(), k.org.Key, tidings.IssuanceFilter{}, tidings.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range l.Items {
		states[i.State]++
	}
	if want := "map[completed:1 expired:1 failed:4 offered:1]"; fmt.Sprint(states) != want {
		t.Errorf("the issuances are %v, want %s", states, want)
	}
}

// What a wallet says after the claims have gone is as personal, and not kept.
func TestWordsThatComeLateAreNotKept(t *testing.T) {
	k := newKeeper(t)
	k.pass(t, time.Hour)
	k.clock.Advance(2 * claimsKept)
	k.forget(t)
	i := k.made["completed"]
	k.step(t, i, tidings.Notify{CredentialID: i.Credentials[1].ID, Event: tidings.NotifyDeleted, Description: "canary-completed-words"})
	k.holds(t, "open")
}

// The check tells of claims that should have gone.
func TestCheckKnowsWhenClaimsGo(t *testing.T) {
	k := newKeeper(t)
	k.pass(t, time.Hour)
	k.clock.Advance(claimsKept - 30*time.Minute)
	k.sound(t) // the chore has an hour
	k.clock.Advance(2 * time.Hour)
	breaches, err := k.Check(t.Context(), 10)
	if err != nil || len(breaches) != 6 || !strings.Contains(breaches[0], "keeps its claims") {
		t.Errorf("breaches %q, %v", breaches, err)
	}
	k.forget(t)
	k.sound(t)
}

package apptest_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// A server deletes by itself what it certified, and keeps the issuance.
func TestAServerForgetsWhatItCertified(t *testing.T) {
	const claim = "canary-claim-Wb3"
	var ahead atomic.Int64
	a := apptest.New(t, func(c *app.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c.AcceptanceGrace = 0
	})
	var made issuance
	a.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": template(a.API), "attributes": apptest.Object{"name": claim}}, http.StatusCreated, &made)
	if _, err := newWallet(t, a.API).Claim(t.Context(), made.OfferURI); err != nil {
		t.Fatal(err)
	}
	stands := func() bool {
		for _, name := range []string{"tidings.db", "tidings.db-wal"} {
			text, err := os.ReadFile(filepath.Join(a.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(claim)) {
				return true
			}
		}
		return false
	}
	if !stands() {
		t.Fatal("the claim is in no file, although the issuance has just ended")
	}
	ahead.Store(int64(168*time.Hour + time.Minute))
	a.Restart() // with a token of the new time
	a.Await("the claim is in no file any more", func() bool { return !stands() })
	var left struct{ Status string }
	a.Call("GET", "/credentials/"+made.ID, nil, http.StatusOK, &left)
	if left.Status != "completed" {
		t.Errorf("the issuance is %s", left.Status)
	}
}

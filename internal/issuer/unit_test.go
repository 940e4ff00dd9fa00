package issuer

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
)

// A sealed text opens for what it was sealed for, and for nothing else.
func TestMAC(t *testing.T) {
	k := macKey(bytes.Repeat([]byte{1}, macKeySize))
	text := k.seal(forCode, []byte("abc"), "acme", "x")
	if body, ok := k.open(forCode, text, "acme", "x"); !ok || string(body) != "abc" {
		t.Fatalf("got %q, %v", body, ok)
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw)-len("abc") < 16 {
		t.Errorf("the tag has %d bytes, want 128 bits or more", len(raw)-3)
	}
	other := macKey(bytes.Repeat([]byte{2}, macKeySize))
	for name, ok := range map[string]bool{
		"purpose": second(k.open(forAccess, text, "acme", "x")),
		"key":     second(other.open(forCode, text, "acme", "x")),
		"context": second(k.open(forCode, text, "other", "x")),
		"borders": second(k.open(forCode, text, "acm", "ex")),
		"short":   second(k.open(forCode, text[:20], "acme", "x")),
		"empty":   second(k.open(forCode, "", "acme", "x")),
		"padding": second(k.open(forCode, text+"=", "acme", "x")),
		"newline": second(k.open(forCode, text+"\n", "acme", "x")),
		"long":    second(k.open(forCode, strings.Repeat("A", maxSealed+1), "acme", "x")),
	} {
		if ok {
			t.Errorf("opened with another %s", name)
		}
	}
	for n := range raw {
		bad := slices.Clone(raw)
		bad[n] ^= 1
		if second(k.open(forCode, base64.RawURLEncoding.EncodeToString(bad), "acme", "x")) {
			t.Errorf("opened with byte %d changed", n)
		}
	}
}

func second[T any](_ T, ok bool) bool { return ok }

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		6*24*time.Hour + 23*time.Hour: "in 6 days", 24 * time.Hour: "in 1 day", 90 * time.Minute: "in 1 hour",
		59 * time.Minute: "in 59 minutes", 2 * time.Second: "in 2 seconds", 10 * time.Millisecond: "now",
	} {
		if got := roughly(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(t.Context(), Config{PublicURL: "https://a.example/x/", AccessLife: time.Hour, Grace: -1}, nil)
	for _, want := range []string{"public URL", "access token", "grace"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name the %s", err, want)
		}
	}
	for _, bad := range []string{"", "a.example", "ftp://a.example", "https://", "https://a.example/", "https://u@a.example", "https://a.example?x", "https://a.example#"} {
		if _, err := New(t.Context(), Config{PublicURL: bad}, nil); err == nil {
			t.Errorf("the public URL %q is taken", bad)
		}
	}
}

// An archived template stays listed while an offer of it can be open.
func TestListed(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for days, want := range map[int]bool{0: true, 90: true, 92: false} {
		at := now.AddDate(0, 0, -days)
		if got := listed(tidings.Template{ArchivedAt: &at}, now); got != want {
			t.Errorf("archived %d days ago: listed %v", days, got)
		}
	}
	if !listed(tidings.Template{}, now) {
		t.Error("a template in use is not listed")
	}
}

// A certificate is valid at the iat of whatever it signs.
func TestCertificatesCoverIssuance(t *testing.T) {
	for _, now := range []time.Time{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 23, 59, 59, 0, time.UTC)} {
		anchor, err := newAnchor("acme", now)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := newLeaf(anchor, "acme", "https://a.example/o/acme", now)
		if err != nil {
			t.Fatal(err)
		}
		if iat := time.Unix(issuedAt(now), 0); leaf.cert.NotBefore.After(iat) || iat.After(now) {
			t.Errorf("iat %v, valid from %v", iat, leaf.cert.NotBefore)
		}
		text, err := leaf.pem()
		if err != nil {
			t.Fatal(err)
		}
		again, err := readPEM(text)
		if err != nil || again.id() != leaf.id() {
			t.Errorf("read back: %v", err)
		}
		mixed := append(certificatePEM(anchor.cert), text[bytes.Index(text, []byte("-----BEGIN PRIVATE")):]...)
		for _, bad := range [][]byte{nil, []byte("x"), certificatePEM(anchor.cert), mixed, append(text, text...)} {
			if _, err := readPEM(bad); err == nil {
				t.Error("a bad key file is taken")
			}
		}
	}
}

func TestBase58(t *testing.T) {
	// The test vector of draft-msporny-base58-03, section 5.
	if got := string(base58("2NEpo7TZRRrLZSi2U")); got != "Hello World!" {
		t.Errorf("got %q", got)
	}
	if base58("0") != nil || new(big.Int).SetBytes(base58("z")).Int64() != 57 {
		t.Error("the alphabet is wrong")
	}
}

// sweeps is a store of which only the sweep is there.
type sweeps struct {
	Store
	sweep func() (int, time.Time, error)
}

func (s sweeps) SweepDeadlines(context.Context, int) (int, time.Time, error) { return s.sweep() }

// The sweeper goes on at once while there is work, wakes for the next deadline,
// backs off while the store fails and says so once.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		trouble := errors.New("disk")
		script := []struct {
			changed int
			next    time.Duration // after start; 0 means none
			err     error
			at      time.Duration // when it is called
		}{
			{changed: 200, at: 0}, {changed: 3, at: 0},
			{next: 100 * time.Millisecond, at: 0},
			{next: 100 * time.Millisecond, at: 100 * time.Millisecond}, // not quite due there
			{at: 105 * time.Millisecond},
			{err: trouble, at: 355 * time.Millisecond}, {err: trouble, at: 605 * time.Millisecond},
			{err: trouble, at: 1105 * time.Millisecond}, {changed: 1, at: 2105 * time.Millisecond},
			{next: time.Hour, at: 2105 * time.Millisecond}, {at: 2355 * time.Millisecond},
		}
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		step := 0
		s := &Issuer{
			cfg: Config{Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil))},
			store: sweeps{sweep: func() (int, time.Time, error) {
				now := script[step]
				if got := time.Since(start); got != now.at {
					t.Errorf("sweep %d came after %v, want %v", step, got, now.at)
				}
				if step++; step == len(script) {
					cancel()
				}
				var next time.Time
				if now.next > 0 {
					next = start.Add(now.next)
				}
				return now.changed, next, now.err
			}},
		}
		s.Run(ctx)
		if step != len(script) {
			t.Errorf("%d sweeps", step)
		}
		if n := strings.Count(log.String(), "not applied"); n != 1 || strings.Count(log.String(), "applied again") != 1 {
			t.Errorf("log:\n%s", log.String())
		}
		if got := sweepWait(0, time.Time{}, time.Now(), 1000); got != maxSweepBack {
			t.Errorf("after a thousand failures the wait is %v", got)
		}
	})
}

// What an invitation shows is text, whatever a template is called.
func TestInvitationEscapes(t *testing.T) {
	var page bytes.Buffer
	err := invitationPage.Execute(&page, invitationView{Issuer: "acme", Credentials: []string{"<script>alert(1)</script>"}, Open: true})
	if err != nil || strings.Contains(page.String(), "<script>") {
		t.Errorf("%v:\n%s", err, page.String())
	}
}

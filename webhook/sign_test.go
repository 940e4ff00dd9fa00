package webhook

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSignPublishedVector(t *testing.T) {
	got, err := mustSigner(t, mustSecret(t, vectorSecret)).Sign(vectorID, time.Unix(vectorSeconds, 999), []byte(vectorBody))
	if err != nil || got != vectorSignature {
		t.Fatalf("%q, %v; want %q", got, err, vectorSignature)
	}
}

func TestSignWithSeveralSecrets(t *testing.T) {
	fresh, old := NewSecret(), mustSecret(t, vectorSecret)
	got, err := mustSigner(t, fresh, old).Sign(vectorID, time.Unix(vectorSeconds, 0), []byte(vectorBody))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(got, " ")
	if len(parts) != 2 || parts[1] != vectorSignature || !strings.HasPrefix(parts[0], "v1,") {
		t.Fatalf("signatures %q", parts)
	}
	for _, secret := range []Secret{fresh, old} {
		v := &Verifier{Secrets: []Secret{secret}, Now: at(vectorSeconds)}
		if err := v.Verify(rawHeader(vectorID, vectorSeconds, got), []byte(vectorBody)); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func TestNewSignerNeedsSecrets(t *testing.T) {
	for _, secrets := range [][]Secret{nil, {{}}, {NewSecret(), {}}} {
		if _, err := NewSigner(secrets...); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%d secrets: %v", len(secrets), err)
		}
	}
}

func TestSignRefusesIDs(t *testing.T) {
	s := mustSigner(t, NewSecret())
	for _, id := range []string{"", "a.b", "a b", "a\n", "ä", strings.Repeat("a", 257)} {
		if _, err := s.Sign(id, time.Unix(0, 0), nil); !errors.Is(err, ErrID) {
			t.Errorf("id %q: %v", id, err)
		}
		if err := s.SetHeaders(nil, id, time.Unix(0, 0), nil); !errors.Is(err, ErrID) {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

// TestSignConcurrently is for the race detector: pooled states are not shared.
func TestSignConcurrently(t *testing.T) {
	s := mustSigner(t, mustSecret(t, vectorSecret))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				got, err := s.Sign(vectorID, time.Unix(vectorSeconds, 0), []byte(vectorBody))
				if err != nil || got != vectorSignature {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkSign(b *testing.B) {
	at := time.Unix(vectorSeconds, 0)
	body := []byte(eventBody)
	run := func(name string, s *Signer) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(vectorID, at, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("one", mustSigner(b, NewSecret()))
	run("rotating", mustSigner(b, NewSecret(), NewSecret()))
}

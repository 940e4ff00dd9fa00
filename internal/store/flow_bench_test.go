package store

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/pgtest"
)

// BenchmarkFlow is what the store does for a whole issuance, with eight wallets at
// once: creation, retrieval, redemption, delivery, notification, and the results
// of the two webhooks that tell of it.
func BenchmarkFlow(b *testing.B) { benchmarkFlow(b, Options{Dir: b.TempDir()}) }

// BenchmarkFlowOnPostgreSQL is the same on a PostgreSQL that syncs.
func BenchmarkFlowOnPostgreSQL(b *testing.B) {
	benchmarkFlow(b, Options{Database: pgtest.Start(b, pgtest.Durable...)})
}

func benchmarkFlow(b *testing.B, o Options) {
	wakes := make(chan []tidings.Wake, 1<<16)
	var commits, rows atomic.Int64
	o.OnWake = func(w []tidings.Wake) { wakes <- w }
	o.OnCommit = func(c Commit) { commits.Add(1); rows.Add(int64(c.Rows)) }
	s, organisation := benched(b, o)
	addEndpoint(b, s, organisation.Key)
	template := addTemplate(b, s, organisation.Key)
	var receiver sync.WaitGroup
	receiver.Go(func() {
		for w := range wakes {
			receiver.Go(func() { recordAll(b, s, w) })
		}
	})
	var left atomic.Int64
	left.Store(int64(b.N))
	commits.Store(0)
	rows.Store(0)
	b.ReportAllocs()
	b.ResetTimer()
	var wallets sync.WaitGroup
	for range 8 {
		wallets.Go(func() {
			for left.Add(-1) >= 0 {
				if err := s.flow(b.Context(), organisation, template); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wallets.Wait()
	close(wakes)
	receiver.Wait()
	b.StopTimer()
	b.ReportMetric(float64(commits.Load())/float64(b.N), "commits/op")
	b.ReportMetric(float64(rows.Load())/float64(b.N), "rows/op")
}

// recordAll records that the deliveries of wakes have arrived.
func recordAll(b *testing.B, s *Store, wakes []tidings.Wake) {
	var results []tidings.AttemptResult
	for _, w := range wakes {
		for _, d := range w.Deliveries {
			results = append(results, tidings.AttemptResult{Delivery: d, Status: tidings.DeliveryDelivered,
				Attempt: tidings.Attempt{Number: 1, StartedAt: time.Now(), Duration: time.Millisecond, StatusCode: 204}})
		}
	}
	for _, err := range s.Record(results) {
		if err != nil {
			b.Error(err)
		}
	}
}

func (s *Store) flow(ctx context.Context, org tidings.Organisation, template tidings.Template) error {
	i, err := s.CreateIssuance(ctx, org, tidings.NewIssuance{Life: time.Hour, Credentials: []tidings.NewCredential{
		{Template: template, Claims: map[string]any{"card_number": "LC-1042", "holder_name": "Ada Example", "valid_until": "2030-12-31"}}}})
	if err != nil {
		return err
	}
	deliver := tidings.Deliver{CredentialID: i.Credentials[0].ID, Grace: time.Second, Nonce: tidings.UsedNonce{ExpiresAt: time.Now().Add(time.Minute)}}
	rand.Read(deliver.Nonce.Hash[:])
	for _, step := range []tidings.Step{tidings.Retrieve{}, tidings.Redeem{AccessLife: time.Minute}, deliver,
		tidings.Notify{CredentialID: deliver.CredentialID, Event: tidings.NotifyAccepted}} {
		if i, err = s.Transition(ctx, org.Key, i.ID, step); err != nil {
			return err
		}
	}
	return nil
}

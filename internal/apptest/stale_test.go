package apptest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/internal/delivery"
	"tidings/internal/store"
)

// lateStore answers a reading of a lane only once it is told to.
type lateStore struct {
	*store.Store
	hold atomic.Pointer[chan struct{}]
}

func (s *lateStore) Pending(ctx context.Context, endpoint int64, after tidings.QueuePosition, limit int) ([]tidings.PendingDelivery, error) {
	rows, err := s.Store.Pending(ctx, endpoint, after, limit)
	if gate := s.hold.Load(); gate != nil {
		<-*gate
	}
	return rows, err
}

// sender posts as a function says.
type sender func(id, number string) delivery.Answer

func (s sender) Post(_ context.Context, _ time.Time, _ string, header http.Header, _ []byte) delivery.Answer {
	return s(header.Get("webhook-id"), header.Get("webhook-attempt"))
}

// A lane is being read while an event fails and its issuance's next one moves
// along with it. What was read is out of date then: the next one must not be
// sent by it.
func TestWhatWasReadBeforeAFailureIsOutOfDate(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var engine atomic.Pointer[delivery.Engine]
		s := &lateStore{}
		var err error
		s.Store, err = store.Open(t.Context(), store.Options{Dir: dir, OnWake: func(wakes []tidings.Wake) {
			if e := engine.Load(); e != nil {
				e.Wake(wakes)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = s.CreateClient(t.Context(), "default", tidings.Client{ID: "c"})
		org, orgErr := s.OrganisationBySlug(t.Context(), "default")
		endpoint, endErr := s.CreateEndpoint(t.Context(), org.Key, tidings.NewEndpoint{Settings: tidings.Settings{URL: "https://receiver.example"}})
		if err := errors.Join(err, orgErr, endErr); err != nil {
			t.Fatal(err)
		}

		var sent []string
		names, fail := map[string]string{}, make(chan struct{})
		engine.Store(delivery.New(s, sender(func(id, number string) delivery.Answer {
			if len(sent) == 0 {
				sent = append(sent, "first #1")
				<-fail
				return delivery.Answer{StatusCode: 500}
			}
			sent = append(sent, names[id]+" #"+number)
			return delivery.Answer{StatusCode: 204}
		}), delivery.Config{}))
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- engine.Load().Run(ctx) }()
		publish := func(name string, typ tidings.EventType) {
			out, err := s.Publish(t.Context(), org.Key, []tidings.NewEvent{{Type: typ, IssuanceID: "i"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			names[out[0].ID] = name
			synctest.Wait()
		}
		publish("first", tidings.IssuanceOffered) // in flight
		publish("next", tidings.IssuanceCompleted)
		gate := make(chan struct{})
		s.hold.Store(&gate)
		engine.Load().Wake([]tidings.Wake{{EndpointKey: endpoint.Key, Due: time.Now()}})
		synctest.Wait() // the lane has been read; what was read is on its way
		s.hold.Store(nil)
		close(fail)
		synctest.Wait() // the failure is recorded
		close(gate)
		time.Sleep(time.Minute)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Join(sent, ", "); got != "first #1, first #2, next #1" {
			t.Errorf("sent %s", got)
		}
	})
}

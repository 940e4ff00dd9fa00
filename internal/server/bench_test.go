package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/server"
	"tidings/internal/store"
)

// instant is a store that keeps nothing: what is measured is the adapter.
type instant struct{ *store.Store }

func (instant) Publish(_ context.Context, _ int64, events []tidings.NewEvent, _ *tidings.Idempotency) ([]tidings.Event, error) {
	out := make([]tidings.Event, len(events))
	for i, e := range events {
		out[i] = tidings.Event{ID: "c0162ph6po1s024m7iuxnc7lh", Type: e.Type, IssuanceID: e.IssuanceID, CreatedAt: time.UnixMilli(1772366400000)}
	}
	return out, nil
}

// known takes every token for that of one caller.
type known struct{}

func (known) Check(context.Context, string) (tidings.Caller, error) {
	return tidings.Caller{Organisation: tidings.Organisation{Key: 1, Slug: "default"}, ClientID: "client-a", Scopes: tidings.AllScopes}, nil
}

type noIssuer struct{ server.Issuer }

// discard is a ResponseWriter that costs nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func benchmarkPublish(b *testing.B, body string) {
	s := instant{}
	api, err := server.New(server.Config{
		Auth: known{}, Endpoints: s, Secrets: s, Events: s, Deliveries: s, Repeats: s, Templates: s, Issuances: s, Credentials: s, Issuer: noIssuer{},
		CheckURL: func(string) error { return nil }, OfferLife: time.Hour, Log: slog.New(slog.NewJSONHandler(io.Discard, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.RunParallel(func(pb *testing.PB) {
		reader := strings.NewReader(body)
		r := httptest.NewRequest(http.MethodPost, server.Prefix+"/events", nil)
		r.Body, r.ContentLength = io.NopCloser(reader), int64(len(body))
		r.Header.Set("Authorization", "Bearer abc")
		r.Header.Set("Content-Type", "application/json")
		w := &discard{header: http.Header{}}
		for pb.Next() {
			reader.Reset(body)
			clear(w.header)
			api.ServeHTTP(w, r)
			if w.status != http.StatusAccepted {
				b.Fatal(w.status)
			}
		}
	})
}

// BenchmarkPublishOne is the hot path: one event per request.
func BenchmarkPublishOne(b *testing.B) { benchmarkPublish(b, eventBody("cmfwfjxdq003js601bmgy9tva")) }

// BenchmarkPublishArray is 100 events per request.
func BenchmarkPublishArray(b *testing.B) {
	one := []byte(eventBody("cmfwfjxdq003js601bmgy9tva"))
	benchmarkPublish(b, "["+string(bytes.Join(slicesRepeat(one, 100), []byte(",")))+"]")
}

func slicesRepeat(one []byte, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = one
	}
	return out
}

// Command go is a complete receiver of webhooks: it verifies them, keeps them in
// SQLite before it answers, drops duplicates, and processes the rest.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"tidings/webhook"
	"tidings/webhook/sqlinbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := receive(ctx); err != nil {
		log.Fatal(err)
	}
}

// receive serves until ctx ends.
func receive(ctx context.Context) error {
	secret, err := webhook.ParseSecret(os.Getenv("WEBHOOK_SECRET"))
	if err != nil {
		return fmt.Errorf("WEBHOOK_SECRET: %w", err)
	}
	db, err := sql.Open("sqlite", "file:"+cmp.Or(os.Getenv("INBOX"), "inbox.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	defer db.Close()
	inbox, err := sqlinbox.New(db, sqlinbox.SQLite, "")
	if err != nil {
		return err
	}
	if err := inbox.Migrate(ctx); err != nil {
		return err
	}
	handler := &webhook.Handler{
		Verifier: &webhook.Verifier{Secrets: []webhook.Secret{secret}}, // while one is rotated: both
		Inbox:    inbox,
		Process:  process,
		Timeout:  20 * time.Second, // what a crash interrupts is taken up again a minute after that
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "3000"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/credentials", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	fmt.Printf("listening on http://%s/webhooks/credentials\n", listener.Addr())
	processed := make(chan error, 1)
	go func() { processed <- handler.Run(ctx) }()
	context.AfterFunc(ctx, func() { server.Close() }) // a sender without an answer sends again
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-processed
}

// process does the work. After an error the event comes back later, so it is
// made such that it can be done again: Event.ID is a good unique key. Where
// Event.Test is set, no issuance stands behind it, and nothing may be booked.
func process(_ context.Context, event webhook.Event) error {
	fmt.Println("processed", event.ID, event.Type, event.IssuanceID)
	return nil
}

package store_test

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/internal/pgtest"
	"tidings/internal/store"
)

// server is the PostgreSQL that tests take their databases from, by the test
// that started it.
var server string

// databases are those that stand for a folder.
var databases = map[string]string{}

// database gives the URL of the PostgreSQL database that stands for a folder,
// empty at first, within [TestOnPostgreSQL], and nothing elsewhere: then the store
// is in the folder.
func database(t testing.TB, dir string) string {
	if server == "" {
		return ""
	}
	if databases[dir] == "" {
		databases[dir] = pgtest.NewDatabase(t, server)
	}
	return databases[dir]
}

// conformance are the tests of the store that say what it does, whichever database
// it is on.
var conformance = map[string]func(*testing.T){
	"ARecoveryLooksAtItsPeriodOnly":                    TestARecoveryLooksAtItsPeriodOnly,
	"ARecoveryBeginsInThePast":                         TestARecoveryBeginsInThePast,
	"ARecoveryTellsNoEndpointOfItself":                 TestARecoveryTellsNoEndpointOfItself,
	"ASampleIsSentNowAlsoWhileAnotherWaits":            TestASampleIsSentNowAlsoWhileAnotherWaits,
	"AClockThatWasAheadHoldsUpNothing":                 TestAClockThatWasAheadHoldsUpNothing,
	"AnOldAttemptBringsNoOldClockBack":                 TestAnOldAttemptBringsNoOldClockBack,
	"ACursorOutlivesItsEvent":                          TestACursorOutlivesItsEvent,
	"EventsSinceATime":                                 TestEventsSinceATime,
	"EndedDeliveriesAndTheirEventsGoWithTime":          TestEndedDeliveriesAndTheirEventsGoWithTime,
	"WhatIsPendingForTooLongIsGivenUp":                 TestWhatIsPendingForTooLongIsGivenUp,
	"AnEventLivesAsLongAsItsRetry":                     TestAnEventLivesAsLongAsItsRetry,
	"AnIssuanceOutlivesItsEvents":                      TestAnIssuanceOutlivesItsEvents,
	"AnEventLivesAsLongAsItsDeliveries":                TestAnEventLivesAsLongAsItsDeliveries,
	"PublishMakesADeliveryPerMatchingEndpoint":         TestPublishMakesADeliveryPerMatchingEndpoint,
	"ALaterEventWaitsForTheFirstRetriesOfAnEarlierOne": TestALaterEventWaitsForTheFirstRetriesOfAnEarlierOne,
	"AnEndedDeliveryStandsInTheHistory":                TestAnEndedDeliveryStandsInTheHistory,
	"ResultsShareABatchWithThoseThatNoLongerFit":       TestResultsShareABatchWithThoseThatNoLongerFit,
	"AnIdempotencyKeyGivesTheFirstEventAgain":          TestAnIdempotencyKeyGivesTheFirstEventAgain,
	"ClaimsGoSomeTimeAfterTheEnd":                      TestClaimsGoSomeTimeAfterTheEnd,
	"WordsThatComeLateAreNotKept":                      TestWordsThatComeLateAreNotKept,
	"CheckKnowsWhatIsForgotten":                        TestCheckKnowsWhatIsForgotten,
	"CheckKnowsWhenClaimsGo":                           TestCheckKnowsWhenClaimsGo,
	"PlacesInStatusLists":                              TestPlacesInStatusLists,
	"StepsOfOneIssuanceShareABatch":                    TestStepsOfOneIssuanceShareABatch,
	"WhatIsRememberedOfAnIssuanceIsWhatIsStored":       TestWhatIsRememberedOfAnIssuanceIsWhatIsStored,
	"StepsAreKeptInTheirOrder":                         TestStepsAreKeptInTheirOrder,
	"OffersShareABatch":                                TestOffersShareABatch,
	"ResultsAreCounted":                                TestResultsAreCounted,
	"CountingNeverKeepsTheHouse":                       TestCountingNeverKeepsTheHouse,
	"SamplesAreNotCounted":                             TestSamplesAreNotCounted,
	"AnEventKeepsItsPlaceInATrace":                     TestAnEventKeepsItsPlaceInATrace,
	"AResultThatIsRecordedTwiceIsTakenOnce":            TestAResultThatIsRecordedTwiceIsTakenOnce,
	"SizeTellsOfTheStore":                              TestSizeTellsOfTheStore,
	"ARepeatedEventOutlivesItsRetention":               TestARepeatedEventOutlivesItsRetention,
	"ManyDeliveriesAreMadeBehindTheCommit":             TestManyDeliveriesAreMadeBehindTheCommit,
	"DeliveriesAreMadeOverRestarts":                    TestDeliveriesAreMadeOverRestarts,
	"DeliveriesMadeLaterWaitForRetries":                TestDeliveriesMadeLaterWaitForRetries,
	"EventsThatWaitTooLong":                            TestEventsThatWaitTooLong,
	"ALargeBatchHoldsNobodyUp":                         TestALargeBatchHoldsNobodyUp,
}

// onServer runs them on databases of a server.
func onServer(t *testing.T, url string) {
	server = url
	defer func() { server = ""; clear(databases) }()
	for name, test := range conformance {
		t.Run(name, test)
	}
}

func TestThroughPgBouncer(t *testing.T) { onServer(t, pgtest.Bouncer(t, pgtest.Start(t))) }

func TestOnPostgreSQL(t *testing.T) {
	url := pgtest.Start(t)
	onServer(t, url)
	server = url
	defer func() { server = ""; clear(databases) }()
	t.Run("BothHaveTheSameColumns", testBothHaveTheSameColumns)
	t.Run("ALostConnectionIsReplaced", testALostConnectionIsReplaced)
	t.Run("RetentionTakesFewRoundTrips", testRetentionTakesFewRoundTrips)
	t.Run("RetentionKeepsTheSame", testRetentionKeepsTheSame)
	t.Run("AnAnswerToACommitIsLost", testAnAnswerToACommitIsLost)
	t.Run("ACheckSeesAWholeDrop", testACheckSeesAWholeDrop)
}

// testBothHaveTheSameColumns holds that a migration of one database is one of the
// other, too.
func testBothHaveTheSameColumns(t *testing.T) {
	for _, url := range []string{"", database(t, t.TempDir())} {
		s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Database: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		got, err := s.Columns(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if url == "" {
			columns = got
			continue
		}
		for _, c := range got {
			if !slices.Contains(columns, c) {
				t.Errorf("PostgreSQL alone has %s", c)
			}
		}
		for _, c := range columns {
			if !slices.Contains(got, c) {
				t.Errorf("SQLite alone has %s", c)
			}
		}
	}
}

// columns are those of SQLite.
var columns []string

// testALostConnectionIsReplaced cuts every connection of a store, as a restart of the
// server does: nobody who comes afterwards is refused for it.
func testALostConnectionIsReplaced(t *testing.T) {
	network := pgtest.NewProxy(t, database(t, t.TempDir()))
	s, err := store.Open(t.Context(), store.Options{Database: network.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	org := organisation(t, s, "default")
	for cut := range 3 {
		var group sync.WaitGroup
		for range 20 { // so that several connections are kept
			group.Go(func() { s.Events(context.Background(), org.Key, tidings.EventFilter{}, tidings.Page{}) })
		}
		group.Wait()
		network.Cut()
		network.Mend()
		if cut == 0 {
			if _, err := s.CreateClient(t.Context(), "default", tidings.Client{ID: "c", Scopes: tidings.AllScopes}); err != nil {
				t.Errorf("a write over a lost connection gives %v", err)
			}
			continue
		}
		for range 10 {
			if cut == 1 {
				_, err = s.Client(t.Context(), "c")
			} else {
				_, err = s.Events(t.Context(), org.Key, tidings.EventFilter{}, tidings.Page{})
			}
			if err != nil {
				t.Errorf("a read over a lost connection gives %v", err)
			}
		}
	}
}

// testAnAnswerToACommitIsLost cuts the connection between a commit and its
// answer: nobody can know, and what is written next collides with nothing.
func testAnAnswerToACommitIsLost(t *testing.T) {
	url := database(t, t.TempDir())
	proxy := pgtest.NewProxy(t, url)
	o := &opened{clock: newClock()}
	var err error
	o.Store, err = store.Open(t.Context(), store.Options{Database: proxy.URL, Timeout: time.Minute, Now: o.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Store.Close() })
	o.org = organisation(t, o.Store, "default")
	o.publish(t, tidings.IssuanceOffered, "before")

	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	gate, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec := func(text string) {
		t.Helper()
		if _, err := gate.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	exec("SELECT pg_advisory_lock(1)")
	exec("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END'")
	exec("CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()")
	answered := make(chan error, 1)
	go func() {
		_, err := o.Publish(context.Background(), o.org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: "lost"}}, nil)
		answered <- err
	}()
	count := func(query string) (n int) {
		t.Helper()
		if err := db.QueryRow(query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, func() bool {
		return count("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 1
	})
	proxy.StallAnswers()
	exec("SELECT pg_advisory_unlock(1)")
	until(t, func() bool { return count("SELECT count(*) FROM event WHERE issuance_id = 'lost'") == 1 })
	proxy.Cut()
	if err := <-answered; tidings.KindOf(err) != tidings.KindUnavailable {
		t.Errorf("the answer that was lost: %v", err)
	}
	proxy.Mend()
	o.publish(t, tidings.IssuanceOffered, "after")
	if n := count("SELECT count(DISTINCT position) FROM event"); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
	until(t, func() bool { // a check reads over one connection, which may be gone
		_, err := o.Check(t.Context(), 1)
		return err == nil
	})
	o.sound(t)
}

// until waits until something is so.
func until(t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it never is so")
		}
	}
}

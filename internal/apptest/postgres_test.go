package apptest_test

import (
	"os/exec"
	"strings"
	"testing"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
)

// TestOnPostgreSQL runs tests of the whole on PostgreSQL that otherwise run on
// the embedded database.
func TestOnPostgreSQL(t *testing.T) {
	apptest.OnPostgreSQL(t)
	t.Setenv("TIDINGS_CRASH_EVENTS", "400")
	t.Setenv("TIDINGS_CRASH_ROUNDS", "2")
	t.Setenv("TIDINGS_ORDER_SEEDS", "2")
	t.Setenv("TIDINGS_TRUTH_RUNS", "20")
	for name, test := range map[string]func(*testing.T){
		"AnEventArrivesSigned": TestAnEventArrivesSigned,
		"AFailedAttemptIsRetriedAndLaterEventsOfTheIssuanceWait": TestAFailedAttemptIsRetriedAndLaterEventsOfTheIssuanceWait,
		"KillLosesNothing":                            TestKillLosesNothing,
		"KillAmidALargeFanOut":                        TestKillAmidALargeFanOut,
		"KillBetweenCodesAndRefreshes":                TestKillBetweenCodesAndRefreshes,
		"OrderAndDeliveryOverFailuresAndCrashes":      TestOrderAndDeliveryOverFailuresAndCrashes,
		"ASuccessInFlightDoesNotEndAPause":            TestASuccessInFlightDoesNotEndAPause,
		"AStreamLosesAndRepeatsNothingOverARestart":   TestAStreamLosesAndRepeatsNothingOverARestart,
		"ListsGiveEachItemOnceWhileItemsAreAdded":     TestListsGiveEachItemOnceWhileItemsAreAdded,
		"EventsAreTrueOfEverySchedule":                TestEventsAreTrueOfEverySchedule,
		"EveryListGivesEachItemOnceWhileItGrows":      TestEveryListGivesEachItemOnceWhileItGrows,
		"PatchChangesEveryField":                      TestPatchChangesEveryField,
		"ARotatedSecretSignsAlongUntilItsGraceIsOver": TestARotatedSecretSignsAlongUntilItsGraceIsOver,
		"RecoverSendsOnceWhatDidNotArrive":            TestRecoverSendsOnceWhatDidNotArrive,
		"AnIdempotencyKeyMakesOneThing":               TestAnIdempotencyKeyMakesOneThing,
		"ARepeatOutlivesItsEndpoint":                  TestARepeatOutlivesItsEndpoint,
	} {
		t.Run(name, test)
	}
}

// A whole server on PostgreSQL: what it accepts is delivered, also over a
// restart, and the command line works beside it. PgBouncer before it, in
// transaction mode, makes no difference.
func TestAServerOnPostgreSQL(t *testing.T) {
	server := pgtest.Start(t)
	t.Run("directly", func(t *testing.T) { aServerOn(t, pgtest.NewDatabase(t, server)) })
	t.Run("through PgBouncer", func(t *testing.T) { aServerOn(t, pgtest.Bouncer(t, pgtest.NewDatabase(t, server))) })
}

func aServerOn(t *testing.T, url string) {
	a := apptest.New(t, func(c *app.Config) { c.Database, c.Data = url, "" })
	r := apptest.NewReceiver(t, a.CA, nil)
	a.Register(r.URL)
	first := a.Publish("openid4vc.issuance.offered", "one")
	r.Wait(1)
	a.Restart()
	second := a.Publish("openid4vc.issuance.completed", "one")
	if got := r.Wait(2); got[0].ID() != first || got[1].ID() != second {
		t.Errorf("%s and %s arrived, want %s and %s", got[0].ID(), got[1].ID(), first, second)
	}
	a.Await("both deliveries ended well", func() bool {
		return len(list[struct{ ID string }](a.API, "/deliveries?filter[status]=delivered")) == 2
	})
	for _, args := range [][]string{{"client", "create", "--organisation", "other"}, {"check"}} {
		c := exec.Command(apptest.Binary(t, false), args...)
		c.Env = append(c.Environ(), "TIDINGS_DATABASE="+url)
		out, err := c.CombinedOutput()
		if err != nil || strings.Contains(string(out), "free on disk") {
			t.Errorf("tidings %v: %v\n%s", args, err, out)
		}
	}
}

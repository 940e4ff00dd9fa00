package console_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// An hour of traffic, some attempts of which fail: the overview and the
// endpoint plot it, and the list leads through its pages by links, each delivery
// once.
func TestAnHourOfTraffic(t *testing.T) {
	const rounds = 50
	// A minute passes for each round, however long that takes; within it time goes
	// on, so that retries come.
	start := time.Now().Add(-rounds * time.Minute).Truncate(time.Minute)
	var minute, begun atomic.Int64
	begun.Store(time.Now().UnixNano())
	a := apptest.New(t, func(c *app.Config) {
		c.Now = func() time.Time {
			within := time.Since(time.Unix(0, begun.Load()))
			return start.Add(time.Duration(minute.Load())*time.Minute + min(within, 59*time.Second))
		}
		c.RetrySchedule = []time.Duration{100 * time.Millisecond, 100 * time.Millisecond}
	})
	var requests atomic.Int64
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
		if requests.Add(1)%17 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	id := a.Register(receiver.URL)
	published := 0
	for round := range rounds {
		begun.Store(time.Now().UnixNano())
		minute.Store(int64(round))
		var batch []apptest.Object
		for n := range 3 + round%7 {
			batch = append(batch, apptest.Object{"eventType": "openid4vc.issuance.completed",
				"payload": apptest.Object{"openId4VcIssuanceId": fmt.Sprintf("round-%d-%d", round, n)}})
		}
		now := a.As(apptest.ClientID, apptest.ClientSecret) // with a token of this minute
		now.Call("POST", "/events", batch, http.StatusAccepted, nil)
		published += len(batch)
		a.Await("they have arrived", func() bool {
			var e struct{ Backlog struct{ Count int } }
			now.Call("GET", "/endpoints/"+id, nil, http.StatusOK, &e)
			return e.Backlog.Count == 0
		})
	}
	b := newTab(t, a)
	b.signIn(apptest.ClientID, apptest.ClientSecret)
	b.until(fmt.Sprintf("document.querySelector('.tiles b').textContent === '%d'", published))
	if n := must[int](b, "document.querySelectorAll('.plots svg')[0].querySelectorAll('rect.good').length"); n != rounds {
		t.Errorf("the plot has bars of %d minutes, want %d", n, rounds)
	}
	b.check("overview-busy")
	b.open("/endpoints/" + id)
	b.until(fmt.Sprintf("document.querySelector('.plot .legend').textContent.includes('delivered %d')", published))
	b.check("endpoint-busy")

	seen := map[string]bool{}
	b.open("/deliveries?status=delivered")
	for page := 1; ; page++ {
		rows := must[[]string](b, "[...document.querySelectorAll('.rows tbody tr td:first-child a')].map((a) => a.getAttribute('href'))")
		for _, row := range rows {
			if seen[row] {
				t.Fatalf("%s stands on two pages", row)
			}
			seen[row] = true
		}
		if len(seen) == published {
			break
		}
		if len(rows) != 25 || page > published {
			t.Fatalf("page %d has %d rows", page, len(rows))
		}
		next := must[string](b, "document.querySelector('a[rel=next]').getAttribute('href').slice('/console'.length)")
		b.open(next)
	}
	b.click("/← Newer/")
	b.until("document.querySelectorAll('.rows tbody tr').length === 25")
	b.check("deliveries-pages")
}

// Everything can be reached and pressed without a mouse.
func TestByKeyboard(t *testing.T) {
	a := apptest.New(t)
	b := newTab(t, a)
	b.signIn(apptest.ClientID, apptest.ClientSecret)
	b.keys(tabKey)
	if first := must[string](b, "document.activeElement.textContent"); first != "Skip to the content" {
		t.Errorf("the first tab leads to %q", first)
	}
	b.keys(enterKey)
	b.until("document.activeElement.id === 'main'")
	for range 5 { // past what chooses the hour or the day
		if must[string](b, "document.activeElement.textContent.trim()") == "New endpoint" {
			break
		}
		b.keys(tabKey)
	}
	if outline := must[string](b, "getComputedStyle(document.activeElement).outlineStyle"); outline == "none" {
		t.Error("one does not see where one is")
	}
	b.keys(enterKey)
	b.at("/endpoints/new")
	b.do(focus("#url"))
	b.keys("https://receiver.example/webhooks")
	b.keys(enterKey)
	b.sees("Created.")
	b.do(focus(".danger summary"))
	b.keys(" ")
	b.until("document.querySelector('.danger details').open")
}

package main

import (
	"fmt"
	"strconv"
	"time"
)

// promptly is how long a receiver may take to answer: a third of the time that
// the server waits, so that a busy hour still leaves room.
const promptly = 5 * time.Second

// playWant is what a receiver has to do with what a case sends.
type playWant string

const (
	wantTaken   playWant = "2xx"
	wantRefused playWant = "refusal"
)

// playAnswer is what came back for one request.
type playAnswer struct {
	ID     string // the webhook-id that was sent
	Status int    // 0 where no answer came
	Took   time.Duration
	Err    error  // why no answer came
	Text   string // the start of the answer's body
}

// playResult is what a receiver did in a case.
type playResult string

const (
	playTook       playResult = "taken"      // 2xx in time, as it should
	playRefusedIt  playResult = "refused"    // no 2xx, as it should
	playBelieved   playResult = "believed"   // 2xx for what is not genuine
	playDenied     playResult = "denied"     // 4xx for what is genuine
	playBroke      playResult = "broke"      // 5xx for what is genuine
	playRedirected playResult = "redirected" // 3xx, which is not followed
	playGone       playResult = "gone"       // 410, which ends the endpoint
	playSlow       playResult = "slow"       // 2xx, but not promptly
	playSilent     playResult = "silent"     // no answer
)

func (r playResult) right() bool { return r == playTook || r == playRefusedIt }

// judgePlay says what a receiver did in a case: the first answer that is wrong
// decides.
func judgePlay(want playWant, answers []playAnswer) playResult {
	var r playResult
	for _, a := range answers {
		if r = judgeAnswer(want, a); !r.right() {
			break
		}
	}
	return r
}

func judgeAnswer(want playWant, a playAnswer) playResult {
	switch taken := a.Status/100 == 2; {
	case a.Status == 0:
		return playSilent
	case want == wantRefused && taken:
		return playBelieved
	case want == wantRefused:
		return playRefusedIt
	case taken && a.Took > promptly:
		return playSlow
	case taken:
		return playTook
	case a.Status == 410:
		return playGone
	case a.Status/100 == 3:
		return playRedirected
	case a.Status/100 == 5:
		return playBroke
	}
	return playDenied
}

// mendPlay says what to do about a result; own is the case's own advice. It is
// empty where all is right.
func mendPlay(r playResult, own string) string {
	switch r {
	case playTook, playRefusedIt:
		return ""
	case playGone:
		return "410 disables an endpoint at once: nothing more is sent until somebody enables it. " + own
	case playRedirected:
		return "Redirects are never followed. Answer 2xx at this URL, or register the one that it leads to."
	case playSlow:
		return fmt.Sprintf("Put the event into a queue of your own, answer, and work afterwards: it took more than %v, and after 15 s the server sends it again.", promptly)
	case playSilent:
		return "Answer every request, what you refuse by 400: without an answer the same webhook is sent again. Your log says why there was none."
	case playBroke:
		return "Your own log has the error; the same webhook is sent again until it is answered 2xx. " + own
	}
	return own // believed, denied
}

// answer says what a receiver did with one request.
func (a playAnswer) answer() string {
	took := a.Took.Round(time.Millisecond).String()
	if a.Took < time.Second {
		took = fmt.Sprintf("%.1fms", float64(a.Took)/float64(time.Millisecond))
	}
	if a.Err != nil {
		return fmt.Sprintf("no answer in %s: %s", took, printable(a.Err.Error()))
	}
	return strconv.Itoa(a.Status) + " in " + took
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// playReport is what is said of a receiver. As JSON it is one document.
type playReport struct {
	URL              string          `json:"url"`
	Right            int             `json:"right"`
	Of               int             `json:"of"`
	Cases            []playCaseShown `json:"cases"`
	SentMoreThanOnce []string        `json:"sentMoreThanOnce"` // webhook-ids

	table io.Writer // takes each case as soon as it is played; nil: none
}

type playCaseShown struct {
	Name    string            `json:"name"`
	Right   bool              `json:"right"`
	Result  playResult        `json:"result"`
	Want    playWant          `json:"want"`
	Answers []playAnswerShown `json:"answers"`
	Mend    string            `json:"mend,omitempty"`
}

type playAnswerShown struct {
	WebhookID  string `json:"webhookId"`
	Status     int    `json:"status"` // 0: no answer
	DurationMS int64  `json:"durationMs"`
	Error      string `json:"error,omitempty"`
}

// add takes a case that was played.
func (r *playReport) add(c playCase, result playResult, answers []playAnswer) error {
	shown := playCaseShown{Name: c.name, Right: result.right(), Result: result, Want: c.want, Mend: mendPlay(result, c.mend)}
	var said, ids []string
	for _, a := range answers {
		if slices.Contains(ids, a.ID) {
			r.SentMoreThanOnce = append(r.SentMoreThanOnce, a.ID)
		}
		s := playAnswerShown{WebhookID: a.ID, Status: a.Status, DurationMS: a.Took.Milliseconds()}
		if a.Err != nil {
			s.Error = printable(a.Err.Error())
		}
		ids, said, shown.Answers = append(ids, a.ID), append(said, a.answer()), append(shown.Answers, s)
	}
	r.Cases = append(r.Cases, shown)
	if shown.Right {
		r.Right++
	}
	if r.table == nil {
		return nil
	}
	return r.row(shown, strings.Join(said, ", "))
}

// row shows a case to people.
func (r *playReport) row(c playCaseShown, said string) error {
	word, rest := "right", ""
	if !c.Right {
		word, rest = "WRONG", fmt.Sprintf(", want a %s\n       mend: %s", c.Want, c.Mend)
	}
	_, err := fmt.Fprintf(r.table, "%s  %-27s  %s%s\n", word, c.Name, said, rest)
	return err
}

// end shows the score.
func (r *playReport) end(w io.Writer) error {
	if r.table == nil {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintf(w, "\n%d of %d right\n\nSent more than once; your receiver's log must show each as processed once:\n  %s\n", r.Right, r.Of, strings.Join(r.SentMoreThanOnce, "\n  "))
	return err
}

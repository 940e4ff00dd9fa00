package console

import (
	"bytes"
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"tidings"
	"tidings/internal/eventstream"
)

// eventList is a page of the events that a filter shows, the newest first.
type eventList struct {
	Filter   tidings.EventFilter
	Filtered bool
	Types    []option
	Events   []tidings.Event
	Pager    pager
	Live     bool   // the newest: it goes on by itself
	Stream   string // where from
	Last     string // the event after which the stream goes on
}

func eventFilter(q url.Values) tidings.EventFilter {
	return tidings.EventFilter{Type: tidings.EventType(q.Get("type")), IssuanceID: strings.TrimSpace(q.Get("issuance"))}
}

func (c *Console) listEvents(ctx context.Context, r *request) (answer, error) {
	p := eventList{Filter: eventFilter(r.query)}
	p.Filtered = p.Filter != tidings.EventFilter{}
	p.Types = typeOptions(p.Filter.Type)
	l, last, err := c.newestEvents(ctx, r, p.Filter)
	if err != nil {
		return answer{}, err
	}
	p.Events, p.Last = l.Items, last
	p.Pager = pagerOf("/events", r.query, l, func(e tidings.Event) string { return e.ID })
	p.Live = !l.HasPrev && r.query.Get("after") == ""
	p.Stream = link("/events/stream", "type", string(p.Filter.Type), "issuance", p.Filter.IssuanceID, "last", last)
	return answer{page: "events", title: "Events", section: "events", body: p}, nil
}

// newestEvents turns the feed, which is oldest first, around: the page of the
// newest, or that before or after an event. last is the newest event of all.
func (c *Console) newestEvents(ctx context.Context, r *request, f tidings.EventFilter) (l tidings.List[tidings.Event], last string, err error) {
	if f.IssuanceID != "" && !plausible(f.IssuanceID) || f.Type != "" && !plausible(string(f.Type)) {
		return l, "", nil
	}
	if last, err = c.cfg.Events.LastEvent(ctx, r.org()); err != nil || last == "" {
		return l, "", err
	}
	asked := pageOf(r)
	p := tidings.Page{Size: asked.Size, Before: asked.After, After: asked.Before}
	newest := p.Before == "" && p.After == ""
	if newest {
		p.Before = last
	}
	if l, err = c.cfg.Events.Events(ctx, r.org(), f, p); err != nil {
		return l, "", err
	}
	slices.Reverse(l.Items)
	l.HasNext, l.HasPrev = l.HasPrev, l.HasNext
	if !newest {
		return l, last, nil
	}
	l.HasPrev = false
	e, err := c.cfg.Events.Event(ctx, r.org(), last)
	if err != nil && tidings.KindOf(err) != tidings.KindNotFound {
		return l, "", err
	}
	if err == nil && (f.Type == "" || e.Type == f.Type.Canonical()) && (f.IssuanceID == "" || e.IssuanceID == f.IssuanceID) {
		l.Items = slices.Insert(l.Items, 0, e)
	}
	return l, last, nil
}

// eventPage is one event with its deliveries.
type eventPage struct {
	tidings.Event
	Text        string // the body, as it is sent
	Description string
	Deliveries  []tidings.Delivery
	Pager       pager
}

func (c *Console) showEvent(ctx context.Context, r *request) (answer, error) {
	id := r.path("id")
	if !plausible(id) {
		return answer{}, tidings.NotFound("event", "")
	}
	e, err := c.cfg.Events.Event(ctx, r.org(), id)
	if err != nil {
		return answer{}, err
	}
	l, err := c.cfg.Deliveries.Deliveries(ctx, r.org(), tidings.DeliveryFilter{EventID: e.ID}, pageOf(r))
	p := eventPage{Event: e, Text: string(e.Body()), Deliveries: l.Items,
		Pager: pagerOf("/events/"+e.ID, r.query, l, func(d tidings.Delivery) string { return d.ID })}
	for _, info := range tidings.EventTypes() {
		if info.Type == e.Type {
			p.Description = info.Description
		}
	}
	return answer{page: "event", title: "Event", section: "events", body: p}, err
}

// maxStreams is how many live views an organisation may have open.
const maxStreams = 16

// streamEvents sends the rows of the events that are accepted after ?last=, or
// after the last one that a browser that comes back has had (server-sent events,
// HTML Living Standard, section 9.2). It ends with the session.
func (c *Console) streamEvents(ctx context.Context, r *request) (answer, error) {
	after := r.http.Header.Get("Last-Event-ID")
	if after == "" {
		after = r.query.Get("last")
	}
	filter := eventFilter(r.query)
	if after != "" && !plausible(after) || filter.IssuanceID != "" && !plausible(filter.IssuanceID) || filter.Type != "" && !plausible(string(filter.Type)) {
		return answer{}, tidings.Invalid("", "There is no such event to go on from.")
	}
	leave, ok := c.streams.Open(r.org())
	if !ok {
		return answer{}, &tidings.Error{Kind: tidings.KindLimited, Retry: eventstream.Heartbeat, Message: "The organisation has too many live views open."}
	}
	defer leave()
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(r.session.until.Sub(c.cfg.Now())))
	defer cancel()
	out := eventstream.Begin(r.w)
	if !out.Write([]byte(": events as they are accepted\n\n")) {
		return answer{streamed: true}, nil
	}
	c.follow(ctx, r, out, filter, after)
	return answer{streamed: true}, nil
}

// follow sends rows until the browser, the session or the server ends.
func (c *Console) follow(ctx context.Context, r *request, out eventstream.Writer, filter tidings.EventFilter, after string) {
	beat := time.NewTicker(eventstream.Heartbeat)
	defer beat.Stop()
	poll := time.NewTicker(eventstream.Poll)
	defer poll.Stop()
	for ok := true; ok; {
		changed := c.cfg.Events.Changed()
		if after, ok = c.sendRows(ctx, r, out, filter, after); !ok {
			return
		}
		select {
		case <-changed:
		case <-poll.C:
		case <-beat.C:
			_, _, signedIn, err := c.signedIn(ctx, r.http) // the client may have been revoked since
			ok = err == nil && signedIn && out.Beat()
		case <-ctx.Done():
			return
		case <-c.stopping:
			return
		}
	}
}

// sendRows sends the rows of all events after one, and gives the last one sent.
func (c *Console) sendRows(ctx context.Context, r *request, out eventstream.Writer, filter tidings.EventFilter, after string) (last string, ok bool) {
	for {
		l, err := c.cfg.Events.Events(ctx, r.org(), filter, tidings.Page{Size: tidings.MaxPageSize, After: after})
		if err != nil {
			return after, false // the browser comes back and goes on
		}
		var text bytes.Buffer
		for _, e := range l.Items {
			after = e.ID
			var row bytes.Buffer
			if err := c.pages["events"].ExecuteTemplate(&row, "event-row", e); err != nil {
				return after, false
			}
			text.WriteString("id: " + e.ID + "\ndata: " + strings.ReplaceAll(row.String(), "\n", " ") + "\n\n")
		}
		if text.Len() > 0 && !out.Write(text.Bytes()) {
			return after, false
		}
		if !l.HasNext {
			return after, true
		}
	}
}

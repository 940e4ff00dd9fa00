package store

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidings"
)

// TestHotStatementsUseTheirIndex holds the plans of statements whose cost must
// not grow with backlog or history. The planner decides without statistics, so
// that its choice depends on the text and the schema alone.
func TestHotStatementsUseTheirIndex(t *testing.T) {
	s, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, row := range []struct{ query, plan string }{
		{heldDue, "queue USING COVERING INDEX queue_issuance (issuance_key=? AND endpoint_id=?)"},
		{moveAlong, "queue USING INDEX queue_issuance (issuance_key=?)"},
		{pendingOf, "q USING PRIMARY KEY (endpoint_id=? AND (due,id)>(?,?))"},
		{oldestOf, "q USING INDEX queue_id (endpoint_id=?)"},
		{waveOf, "expansion USING PRIMARY KEY (organisation_id=?)"},
		{eventsToSend.text(4), "event USING INTEGER PRIMARY KEY (rowid=?)"},
		{waitsToExpand, "expansion USING COVERING INDEX expansion_issuance (issuance_key=?)"},
		{firstToExpand, "expansion USING PRIMARY KEY (organisation_id=?)"},
		{nextExpanding, "expansion USING PRIMARY KEY (organisation_id>?)"},
		{heldWithin.text(4), "q USING COVERING INDEX queue_issuance (issuance_key=? AND endpoint_id>? AND endpoint_id<?)"},
		{fanoutOf, "endpoint USING INDEX endpoint_list (organisation_id=?)"},
		{eventsOf, "event USING INDEX event_feed (organisation_id=? AND position>? AND position<?)"},
		{eventsOf, "d USING INDEX delivery_event (event_id=?) LEFT-JOIN"},
		{eventsOf, "q USING INDEX queue_issuance (issuance_key=?)"},
		{failedOf, "delivery USING INDEX delivery_endpoint (endpoint_id=? AND kind=? AND id>?)"},
		{dropEvent, "q USING INDEX queue_issuance (issuance_key=?)"},
		{stillMissing.text(4), "q USING INDEX queue_issuance (issuance_key=?)"},
		{stillMissing.text(4), "d USING INDEX delivery_event (event_id=?)"},
		{talliesOf, "tally USING PRIMARY KEY (organisation_id=? AND endpoint_id=? AND minute>?)"},
		{storyOf, "event USING INDEX event_issuance (issuance_id=? AND organisation_id=?)"},
		{oneIssuance, "c USING INDEX credential_issuance (issuance_id=?)"},
		{overdueClaims, "issuance USING COVERING INDEX issuance_claims (claims_since<?)"},
		{deleteEnded.text(4), "queue USING PRIMARY KEY (endpoint_id=? AND due=? AND id=?)"},
		{issuancesOfSteps.text(2), "c USING INDEX credential_issuance (issuance_id=?)"},
		{noncesUsed.text(2), "n USING PRIMARY KEY (hash=?)"},
		{requestsMade.text(2), "d USING PRIMARY KEY (organisation_id=? AND route=? AND key=?)"},
		{moveIssuances.single, "issuance USING INTEGER PRIMARY KEY (rowid=?)"},
		{tellCredentials.single, "credential USING INTEGER PRIMARY KEY (rowid=?)"},
		{heldAnywhere, "queue USING COVERING INDEX queue_issuance (issuance_key=?)"},
		{entriesSet, "status_entry USING COVERING INDEX status_entry_set (list_id=?)"},
		{entriesOf, "status_entry USING COVERING INDEX status_entry_credential (credential_id=?)"},
		{backlogOf, "l USING INDEX lane_busy"},
		{backlogOf, "q USING INDEX queue_id (endpoint_id=?)"},
		{backlogOf, "q USING PRIMARY KEY (endpoint_id=? AND due<?)"},
		{endQueued, "queue USING COVERING INDEX queue_id (endpoint_id=? AND id=?)"},
	} {
		args := make([]any, strings.Count(row.query, "$"))
		for n := range args {
			args[n] = 1
		}
		for len(args) > 0 && !strings.Contains(row.query, "$"+strconv.Itoa(len(args))) {
			args = args[1:]
		}
		plan := planOf(t, s, row.query, args)
		if !slices.ContainsFunc(plan, func(line string) bool { return strings.HasSuffix(line, row.plan) }) {
			t.Errorf("%s\nis planned as %q,\nwant %q", row.query, plan, row.plan)
		}
		if slices.Contains(plan, "USE TEMP B-TREE FOR ORDER BY") {
			t.Errorf("%s\nsorts what it finds, however much that is: %q", row.query, plan)
		}
	}
}

// planOf gives the lines of a statement's plan.
func planOf(t *testing.T, s *Store, query string, args []any) (plan []string) {
	t.Helper()
	err := s.query(t.Context(), "EXPLAIN QUERY PLAN "+query, args, func(r scanner) error {
		var a, b, c any
		var detail string
		err := r.Scan(&a, &b, &c, &detail)
		plan = append(plan, detail)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return plan
}

// TestFiltersWalkTheirIndex holds how lists are found that a filter narrows: by
// a range of an index in which nothing stands that does not match, so that a
// page costs as much as it holds, wherever it lies and however rare its items.
func TestFiltersWalkTheirIndex(t *testing.T) {
	s, org, template := planned(t)
	deliveries := func(f tidings.DeliveryFilter) (out []listQuery) {
		sel, err := s.selectDeliveries(t.Context(), org, f)
		if err != nil || sel.none {
			t.Fatal(err)
		}
		return append(sel.queue, sel.history...)
	}
	issuances := func(f tidings.IssuanceFilter) []listQuery {
		q, ok, err := s.selectIssuances(t.Context(), org, f)
		if err != nil || !ok {
			t.Fatal(err)
		}
		return []listQuery{q}
	}
	const (
		typ                = tidings.IssuanceFailed
		failed             = tidings.DeliveryFailed
		lane, laneOfType   = "queue_id (endpoint_id=? AND id)", "queue_kind (endpoint_id=? AND kind=? AND id)"
		history, endpoints = "delivery_organisation (organisation_id=? AND kind=? AND id)", "delivery_endpoint (endpoint_id=? AND kind=? AND id)"
	)
	for _, row := range []struct {
		name    string
		queries []listQuery
		walks   []string
	}{
		{"deliveries", deliveries(tidings.DeliveryFilter{}), []string{lane, history}},
		{"of a type", deliveries(tidings.DeliveryFilter{EventType: typ}), []string{laneOfType, history}},
		{"that failed", deliveries(tidings.DeliveryFilter{Status: failed}), []string{history}},
		{"that failed, of a type", deliveries(tidings.DeliveryFilter{Status: failed, EventType: typ}), []string{history}},
		{"delivered", deliveries(tidings.DeliveryFilter{Status: tidings.DeliveryDelivered}), []string{history}},
		{"pending", deliveries(tidings.DeliveryFilter{Status: tidings.DeliveryPending}), []string{lane}},
		{"pending, of a type", deliveries(tidings.DeliveryFilter{Status: tidings.DeliveryPending, EventType: typ}), []string{laneOfType}},
		{"of an endpoint", deliveries(tidings.DeliveryFilter{EndpointID: "a"}), []string{lane, endpoints}},
		{"of an endpoint and a type", deliveries(tidings.DeliveryFilter{EndpointID: "a", EventType: typ}), []string{laneOfType, endpoints}},
		{"of an endpoint that failed", deliveries(tidings.DeliveryFilter{EndpointID: "a", Status: failed}), []string{endpoints}},
		{"all three", deliveries(tidings.DeliveryFilter{EndpointID: "a", Status: failed, EventType: typ}), []string{endpoints}},
		{"of an issuance", deliveries(tidings.DeliveryFilter{IssuanceID: "i"}), []string{"queue_issuance (issuance_key=?)", "delivery_event (event_id=?)", "event_issuance (issuance_id=? AND organisation_id=?)"}},

		{"events", []listQuery{selectEvents(org, tidings.EventFilter{})}, []string{"event_feed (organisation_id=? AND position)"}},
		{"events of a type", []listQuery{selectEvents(org, tidings.EventFilter{Type: typ})}, []string{"event_type (organisation_id=? AND type=? AND position)"}},
		{"events since", []listQuery{selectEvents(org, tidings.EventFilter{Since: time.Now()})}, []string{"event_feed (organisation_id=? AND position)"}},
		{"events of a type since", []listQuery{selectEvents(org, tidings.EventFilter{Type: typ, Since: time.Now()})}, []string{"event_type (organisation_id=? AND type=? AND position)"}},
		{"events of an issuance", []listQuery{selectEvents(org, tidings.EventFilter{IssuanceID: "i"})}, []string{"event_issuance (issuance_id=? AND organisation_id=? AND id)"}},

		{"issuances", issuances(tidings.IssuanceFilter{}), []string{"issuance_status (organisation_id=? AND status=? AND id)"}},
		{"issuances of a status", issuances(tidings.IssuanceFilter{Status: "failed"}), []string{"issuance_status (organisation_id=? AND status=? AND id)"}},
		{"issuances of a template", issuances(tidings.IssuanceFilter{TemplateID: template}), []string{"credential_status (template_id=? AND issuance_status=? AND issuance_id)"}},
		{"issuances of a template and a status", issuances(tidings.IssuanceFilter{TemplateID: template, Status: "failed"}),
			[]string{"credential_status (template_id=? AND issuance_status=? AND issuance_id)"}},
	} {
		var walks []string
		for _, q := range row.queries {
			for _, backwards := range []bool{false, true} {
				text, args := q.text(far/2, backwards, 100)
				for _, line := range planOf(t, s, text, args) {
					if w := walkOf(line); w != "" && !slices.Contains(walks, w) {
						walks = append(walks, w)
					}
				}
			}
		}
		slices.Sort(walks)
		slices.Sort(row.walks)
		if !slices.Equal(walks, row.walks) {
			t.Errorf("%s walk %q,\nwant %q", row.name, walks, row.walks)
		}
	}
}

// walkOf gives the range of an index that a line of a plan walks; empty for a
// row that is found by its key, and for what only combines rows.
func walkOf(line string) string {
	if strings.HasPrefix(line, "SCAN ") && line != "SCAN found" && !strings.HasPrefix(line, "SCAN part") {
		return line
	}
	_, walk, _ := strings.Cut(line, "INDEX ")
	if strings.Contains(walk, "issuance_id=?") && !strings.HasPrefix(walk, "event_issuance") { // the few credentials of one issuance
		return ""
	}
	// Whether it is bounded from below, from above or both is the page's matter.
	walk = strings.NewReplacer(">?", "", "<?", "").Replace(walk)
	return strings.Replace(walk, "position AND position", "position", 1)
}

// planned is a store with an endpoint that has something pending, and a template.
func planned(t *testing.T) (s *Store, org int64, template string) {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.CreateClient(t.Context(), "default", tidings.Client{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	o, err := s.OrganisationBySlug(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.CreateEndpoint(t.Context(), o.Key, tidings.NewEndpoint{ID: "a", Settings: tidings.Settings{URL: "https://receiver.example/"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publish(t.Context(), o.Key, []tidings.NewEvent{{Type: tidings.IssuanceFailed, IssuanceID: "i"}}, nil); err != nil {
		t.Fatal(err)
	}
	made, err := s.CreateTemplate(t.Context(), o.Key, tidings.NewTemplate{Name: "T", Code: "t"})
	if err != nil {
		t.Fatal(err)
	}
	return s, o.Key, made.ID
}

// A type without a number would stand in no list.
func TestEveryEventTypeHasAKind(t *testing.T) {
	seen := map[int]bool{}
	for _, typ := range tidings.FilterableEventTypes {
		if n := typeKinds[typ]; n < 1 || n > 99 || seen[n] {
			t.Errorf("%s has the number %d", typ, n)
		}
		seen[typeKinds[typ]] = true
	}
}

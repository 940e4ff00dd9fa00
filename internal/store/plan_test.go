package store

import (
	"context"
	"slices"
	"strings"
	"testing"
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
		{fanoutOf, "endpoint USING INDEX endpoint_list (organisation_id=?)"},
		{eventsOf, "event USING INDEX event_feed (organisation_id=? AND position>? AND position<?)"},
		{dropEvent, "q USING INDEX queue_issuance (issuance_key=?)"},
		{arriving, "queue USING INDEX queue_issuance (issuance_key=?)"},
		{arriving, "delivery USING INDEX delivery_event (event_id=?)"},
		{lastEnded, "delivery USING INDEX delivery_event (event_id=?)"},
		{talliesOf, "tally USING PRIMARY KEY (organisation_id=? AND endpoint_id=? AND minute>?)"},
		{endQueued, "queue USING COVERING INDEX queue_id (endpoint_id=? AND id=?)"},
	} {
		var plan []string
		args := make([]any, 6)
		for i := range args {
			args[i] = 1
		}
		n := 1
		for strings.Contains(row.query, "$"+string(rune('0'+n))) {
			n++
		}
		err := s.query(context.Background(), "EXPLAIN QUERY PLAN "+row.query, args[:n-1], func(r scanner) error {
			var a, b, c any
			var detail string
			err := r.Scan(&a, &b, &c, &detail)
			plan = append(plan, detail)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", row.query, err)
		}
		if !slices.ContainsFunc(plan, func(line string) bool { return strings.HasSuffix(line, row.plan) }) {
			t.Errorf("%s\nis planned as %q,\nwant %q", row.query, plan, row.plan)
		}
	}
}

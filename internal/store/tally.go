package store

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidings"
)

// Tallies are kept beside the transactions, so that the way of a delivery costs
// no statement more: the writer adds up in memory what each batch recorded, and
// house-keeping writes the sums. A crash loses those of some seconds, which is
// why nothing but plots is made from them.
type tallies struct {
	mu   sync.Mutex
	sums map[tallyKey]tidings.Tally
}

// tallyKey names a row; endpoint 0 is the whole organisation.
type tallyKey struct{ organisation, endpoint, minute int64 }

// counted is one result of a batch that is not committed yet.
type counted struct {
	tallyKey
	tidings.Tally
}

const minute = int64(time.Minute / time.Millisecond)

// tally counts a result once its batch is committed. Samples are no traffic.
func (t *tx) tally(organisation int64, r *tidings.AttemptResult) {
	if r.Delivery.Test {
		return
	}
	c := counted{tallyKey: tallyKey{organisation, r.Delivery.EndpointKey, t.now - t.now%minute}}
	switch r.Status {
	case tidings.DeliveryDelivered:
		c.Delivered = 1
		c.Latency[tidings.LatencyClass(time.Duration(t.now-r.Delivery.CreatedAt.UnixMilli())*time.Millisecond)] = 1
	case tidings.DeliveryFailed:
		c.Failed, c.FailedAttempts = 1, 1
	default:
		c.FailedAttempts = 1
	}
	t.tallies = append(t.tallies, c)
}

func (s *tallies) add(results []counted) {
	if len(results) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sums == nil {
		s.sums = map[tallyKey]tidings.Tally{}
	}
	for _, c := range results {
		for _, endpoint := range [...]int64{c.endpoint, 0} {
			key := tallyKey{c.organisation, endpoint, c.minute}
			sum := s.sums[key]
			sum.Add(c.Tally)
			s.sums[key] = sum
		}
	}
}

func (s *tallies) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sums) > 0
}

// take gives up to limit sums, and forgets them: where they cannot be written,
// the store is in worse trouble than that.
func (s *tallies) take(limit int) (out []counted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sum := range s.sums {
		if len(out) == limit {
			break
		}
		out = append(out, counted{key, sum})
		delete(s.sums, key)
	}
	return out
}

// of gives the sums of one row's minutes that are not written yet.
func (s *tallies) of(organisation, endpoint int64) (out []counted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sum := range s.sums {
		if key.organisation == organisation && key.endpoint == endpoint {
			out = append(out, counted{key, sum})
		}
	}
	return out
}

// tallyColumns are the counts of a row, in the order of countsOf.
var tallyColumns = func() []string {
	columns := []string{"delivered", "failed", "failed_attempts"}
	for i := range (tidings.Latency{}) {
		columns = append(columns, "l"+strconv.Itoa(i))
	}
	return columns
}()

func countsOf(t *tidings.Tally) []*int {
	out := []*int{&t.Delivered, &t.Failed, &t.FailedAttempts}
	for i := range t.Latency {
		out = append(out, &t.Latency[i])
	}
	return out
}

// addTally adds to a row what was counted.
var addTally = func() string {
	var values, sums strings.Builder
	for i, c := range tallyColumns {
		values.WriteString(", $" + strconv.Itoa(4+i))
		if i > 0 {
			sums.WriteString(", ")
		}
		sums.WriteString(c + " = tally." + c + " + excluded." + c)
	}
	return "INSERT INTO tally (organisation_id, endpoint_id, minute, " + strings.Join(tallyColumns, ", ") + ") VALUES ($1, $2, $3" + values.String() +
		") ON CONFLICT (organisation_id, endpoint_id, minute) DO UPDATE SET " + sums.String()
}()

// WriteTallies writes up to limit rows of what was counted, then deletes those
// that are too old, and tells how many; 0 where nothing is left to do. What is
// counted meanwhile is for the next time, or traffic would keep it at work.
func (s *Store) WriteTallies(ctx context.Context, limit int) (done int, err error) {
	before := s.now().Add(-tidings.TallyLife).UnixMilli()
	var old bool
	if err := s.queryRow(ctx, "SELECT EXISTS (SELECT 1 FROM tally WHERE minute < $1)", []any{before}, &old); err != nil {
		return 0, err
	}
	rows := s.w.tallies.take(limit)
	if len(rows) == 0 && !old {
		return 0, nil
	}
	err = s.w.submit(ctx, classHouse, 0, max(len(rows), 1), func(t *tx) error {
		done = len(rows)
		for _, row := range rows {
			args := []any{row.organisation, row.endpoint, row.minute}
			for _, n := range countsOf(&row.Tally) {
				args = append(args, *n)
			}
			if _, err := t.exec(addTally, args...); err != nil {
				return err
			}
		}
		if !old || done == limit {
			return nil
		}
		n, err := t.exec(`DELETE FROM tally WHERE (organisation_id, endpoint_id, minute) IN
			(SELECT organisation_id, endpoint_id, minute FROM tally WHERE minute < $1 LIMIT $2)`, before, limit-done)
		done += int(n)
		return err
	})
	if done < limit {
		done = 0
	}
	return done, err
}

// Tallies gives what was counted since a time, per step (whole minutes), oldest
// first, for an endpoint or, where its id is empty, for the organisation. Steps
// in which nothing happened are there too, empty; the last one is the present.
func (s *Store) Tallies(ctx context.Context, org int64, endpoint string, since time.Time, step time.Duration) ([]tidings.Tally, error) {
	var key int64
	if endpoint != "" {
		e, err := s.Endpoint(ctx, org, endpoint)
		if err != nil {
			return nil, err
		}
		key = e.Key
	}
	width := step.Milliseconds()
	now := s.now().UnixMilli()
	from := max(since.UnixMilli(), now-tidings.TallyLife.Milliseconds())
	from -= from % width
	out := make([]tidings.Tally, (now-from)/width+1)
	for i := range out {
		out[i].At = fromMillis(from + int64(i)*width)
	}
	add := func(at int64, sum tidings.Tally) {
		if i := (at - from) / width; at >= from && i < int64(len(out)) {
			out[i].Add(sum)
		}
	}
	for _, c := range s.w.tallies.of(org, key) {
		add(c.minute, c.Tally)
	}
	err := s.query(ctx, talliesOf, []any{org, key, from}, func(r scanner) error {
		var at int64
		var sum tidings.Tally
		to := []any{&at}
		for _, n := range countsOf(&sum) {
			to = append(to, n)
		}
		err := r.Scan(to...)
		add(at, sum)
		return err
	})
	return out, err
}

var talliesOf = "SELECT minute, " + strings.Join(tallyColumns, ", ") + " FROM tally WHERE organisation_id = $1 AND endpoint_id = $2 AND minute >= $3"

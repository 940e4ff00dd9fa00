package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// mostNodes is with how many nodes on one database there is a figure.
const mostNodes = 3

// nodes measures one, two and three servers on one PostgreSQL: what their
// processor time buys, and what part of it is the database's.
func nodes(ctx context.Context, b *run) error {
	if b.postgres == nil {
		b.say("nodes: several need a PostgreSQL, see --database")
		return nil
	}
	var alone float64
	for n := 1; n <= mostNodes; n++ {
		t, share, err := b.several(ctx, n)
		if err != nil {
			return err
		}
		if n == 1 {
			alone = t.cpu
		}
		b.add(Row{Scenario: fmt.Sprint("nodes-", n), DeliveriesPerSecond: t.perSecond, CPUMicrosPerEvent: t.cpu, RSSMiB: t.rss, Ratio: alone / t.cpu,
			Target: fmt.Sprintf("ratio: deliveries for the same processor time, to one node; the database has %.0f %% of it", 100*share), Met: true})
	}
	return nil
}

// several measures n nodes, whose publishers take turns, and gives the database's
// part of the processor time.
func (b *run) several(ctx context.Context, n int) (t traffic, share float64, err error) {
	in, err := b.install(ctx, 100, 1, takes)
	if err != nil {
		return t, 0, err
	}
	defer func() { err = errors.Join(err, in.leave(), in.close()) }()
	for range n - 1 {
		if err := in.joined(ctx); err != nil {
			return t, 0, err
		}
	}
	if err := in.balanced(ctx); err != nil {
		return t, 0, err
	}
	database, all := b.postgres.cpu(), in.cpu()
	t, err = in.publishFor(ctx, b.cfg.Sizes.Window, 1)
	if err != nil {
		return t, 0, err
	}
	share = float64(b.postgres.cpu()-database) / float64(in.cpu()-all)
	return t, share, in.onRecord(ctx, 1000)
}

// joined starts one more node on the installation's database.
func (in *installation) joined(ctx context.Context) error {
	url, err := freeURL()
	if err != nil {
		return err
	}
	in.b.next++
	peer := &server{b: in.b, data: filepath.Join(in.b.cfg.Dir, fmt.Sprint("node-", in.b.next)), database: in.database, url: url, public: in.url, http: in.b.newHTTP(64)}
	in.peers = append(in.peers, peer)
	return peer.start(ctx)
}

// leave stops the other nodes.
func (in *installation) leave() (err error) {
	for _, peer := range in.peers {
		err = errors.Join(err, peer.stop(), peer.removeFiles())
	}
	return err
}

// balanced waits until every node has shards.
func (in *installation) balanced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, s := range append([]*server{in.server}, in.peers...) {
		for {
			nodes, shards, err := s.shards(ctx)
			if err != nil {
				return err
			}
			if nodes == 1+len(in.peers) && shards > 0 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// shards asks a node how many there are, and how many shards it has.
func (s *server) shards(ctx context.Context) (nodes, shards int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
	if err != nil {
		return 0, 0, err
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	var ready struct{ Store struct{ Nodes, Shards int } }
	err = json.NewDecoder(answer.Body).Decode(&ready)
	return ready.Store.Nodes, ready.Store.Shards, err
}

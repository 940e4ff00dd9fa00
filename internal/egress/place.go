package egress

import (
	"net"
	"net/url"
	"sync"
)

// place is where an endpoint's requests go.
type place struct {
	url     *url.URL
	address string // host and port, to be dialled
	head    string // of every request: its first line and the host
}

// placesKept is how many are known: those of more endpoints take turns.
const placesKept = 4096

// places remembers URLs that were judged to be right: a judgement follows from
// the URL and from what is allowed here, which never changes, and it would be
// made for each call. The addresses of names are judged when they are dialled.
type places struct {
	mu    sync.RWMutex
	known map[string]*place
}

// find gives the place of a URL, or what is wrong with it.
func (p *places) find(guard *Guard, endpoint string) (*place, error) {
	p.mu.RLock()
	known := p.known[endpoint]
	p.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	u, err := guard.parseURL(endpoint)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	found := &place{url: u, address: net.JoinHostPort(u.Hostname(), port), head: "POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) == placesKept {
		p.known = map[string]*place{}
	}
	p.known[endpoint] = found
	return found, nil
}

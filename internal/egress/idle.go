package egress

import (
	"container/list"
	"sync"
	"time"
)

// idleConns keeps connections until they are used again, or too old, or too
// many. Those that became idle last are used first, so that the others can go.
type idleConns struct {
	most, mostPerHost int
	life              time.Duration

	mu     sync.Mutex
	byHost map[string][]*list.Element
	order  list.List // of *wireConn, the longest idle first
	timer  *time.Timer
}

func newIdleConns(most, mostPerHost int, life time.Duration) *idleConns {
	return &idleConns{most: most, mostPerHost: mostPerHost, life: life, byHost: map[string][]*list.Element{}}
}

// take gives an idle connection to an address, nil if there is none.
func (i *idleConns) take(address string) *wireConn {
	i.mu.Lock()
	defer i.mu.Unlock()
	host := i.byHost[address]
	if len(host) == 0 {
		return nil
	}
	return i.drop(host[len(host)-1])
}

// put keeps a connection, and closes the one that has been idle longest where
// there are too many.
func (i *idleConns) put(c *wireConn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c.since = time.Now()
	i.byHost[c.address] = append(i.byHost[c.address], i.order.PushBack(c))
	if host := i.byHost[c.address]; len(host) > i.mostPerHost {
		i.drop(host[0]).close()
	}
	if i.order.Len() > i.most {
		i.drop(i.order.Front()).close()
	}
	if i.timer == nil {
		i.timer = time.AfterFunc(i.life, i.expire)
	}
}

// drop takes a connection out.
func (i *idleConns) drop(e *list.Element) *wireConn {
	c := i.order.Remove(e).(*wireConn)
	host := i.byHost[c.address]
	for n := len(host) - 1; n >= 0; n-- { // mostly the last one
		if host[n] == e {
			host = append(host[:n], host[n+1:]...)
			break
		}
	}
	if len(host) == 0 {
		delete(i.byHost, c.address)
	} else {
		i.byHost[c.address] = host
	}
	return c
}

// expire closes what has been idle for too long, and comes again for the rest.
func (i *idleConns) expire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.timer = nil
	for e := i.order.Front(); e != nil; e = i.order.Front() {
		left := i.life - time.Since(e.Value.(*wireConn).since)
		if left > 0 {
			i.timer = time.AfterFunc(left, i.expire)
			return
		}
		i.drop(e).close()
	}
}

// count tells how many there are.
func (i *idleConns) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.order.Len()
}

// close closes all.
func (i *idleConns) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for e := i.order.Front(); e != nil; e = i.order.Front() {
		i.drop(e).close()
	}
	if i.timer != nil {
		i.timer.Stop()
		i.timer = nil
	}
}

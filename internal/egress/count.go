package egress

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// connCount counts connections to receivers.
type connCount struct{ open, made atomic.Int64 }

func (n *connCount) add() {
	n.open.Add(1)
	n.made.Add(1)
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// counted counts the connections that net/http's transport makes.
func (n *connCount) counted(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		n.add()
		return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { n.open.Add(-1) })}, nil
	}
}

// countedConn is a connection whose end is counted, once.
type countedConn struct {
	net.Conn
	closed func()
}

// Close closes it.
func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

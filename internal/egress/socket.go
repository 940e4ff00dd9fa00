package egress

import (
	"io"
	"net"
	"os"
	"syscall"
)

var errDeadline = os.ErrDeadlineExceeded

// errNothing says that a probe found nothing to read. For package tls it is a
// temporary error, after which the connection goes on.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing to read" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// socket is a TCP connection below TLS. It counts what was written, and can be
// read without waiting.
type socket struct {
	net.Conn
	raw     syscall.RawConn // nil where the connection has none
	written int64
	probe   bool

	look func(fd uintptr) bool // reads what is there into into, once; made once
	into []byte
	n    int
	err  error
}

func newSocket(conn net.Conn) *socket {
	s := &socket{Conn: conn}
	s.look = func(fd uintptr) bool {
		s.n, s.err = syscall.Read(int(fd), s.into)
		return true // whatever came: do not wait
	}
	if c, ok := conn.(syscall.Conn); ok {
		s.raw, _ = c.SyscallConn()
	}
	return s
}

// Write counts.
func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.written += int64(n)
	return n, err
}

// Read waits, unless it probes.
func (s *socket) Read(p []byte) (n int, err error) {
	if !s.probe {
		return s.Conn.Read(p)
	}
	if s.raw == nil {
		return 0, errNothing
	}
	s.into = p
	if failed := s.raw.Read(s.look); failed != nil {
		return 0, failed
	}
	n, err = s.n, s.err
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0, errNothing
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

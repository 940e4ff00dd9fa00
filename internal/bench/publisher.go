package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"

	"tidings"
)

// publisher is one keep-alive connection that publishes. It is a lean HTTP/1.1
// client, so that as much of the machine as possible is left to what is measured.
type publisher struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	host string
}

func (b *run) newPublisher(server string) (*publisher, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: b.ca.Pool(), NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	return &publisher{conn: conn, in: bufio.NewReader(conn), host: u.Host}, nil
}

func (p *publisher) close() { p.conn.Close() }

// publish publishes events with the numbers from to before, and waits for the
// 202. Several go as one array.
func (p *publisher) publish(token, prefix string, from, before int) error {
	var room [64 << 10]byte
	body := room[:0]
	if before-from > 1 {
		body = append(body, '[')
	}
	for n := from; n < before; n++ {
		if n > from {
			body = append(body, ',')
		}
		body = append(body, `{"eventType":"`...)
		body = append(body, tidings.IssuanceCompleted...)
		body = append(body, `","payload":{"openId4VcIssuanceId":"`...)
		body = append(body, prefix...)
		body = append(body, '-')
		body = strconv.AppendInt(body, int64(n), 10)
		body = append(body, `"}}`...)
	}
	if before-from > 1 {
		body = append(body, ']')
	}
	p.out = fmt.Appendf(p.out[:0], "POST /me-creds/api/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", p.host, token, len(body))
	p.out = append(p.out, body...)
	if _, err := p.conn.Write(p.out); err != nil {
		return err
	}
	return p.answered()
}

var contentLength = []byte("Content-Length: ")

// answered reads an answer, which must be 202.
func (p *publisher) answered() error {
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	status := string(bytes.TrimSpace(line))
	length := 0
	for {
		if line, err = p.in.ReadSlice('\n'); err != nil {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if status != "HTTP/1.1 202 Accepted" {
		text, _ := io.ReadAll(io.LimitReader(p.in, int64(length)))
		return fmt.Errorf("publishing: %s: %s", status, text)
	}
	_, err = p.in.Discard(length)
	return err
}

package store

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// A key is 63 bits: 41 of milliseconds since 2025-01-01, 10 of node number, 12
// of counter. So rows are appended in time order, and pages and partitions can
// be cut by key.
const (
	nodeBits    = 10
	counterBits = 12
)

// keysAhead is a second of keys.
const keysAhead = 1000 << (nodeBits + counterBits)

var keyEpoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// Node numbers inside keys: the server's, and one that the commands beside it
// share, so that their keys never meet.
const (
	serverNode  = 0
	visitorNode = 1<<nodeBits - 1
)

// keys gives out keys that never go backwards, also when the clock does. Only
// the writer holds one.
type keys struct {
	last int64 // the newest key given out
	node int64
}

// next gives a key for something that happens at now (epoch milliseconds).
// When a millisecond's counter is used up, or the clock stands behind the last
// key, it goes on from that.
func (k *keys) next(now int64) int64 {
	fresh := (now-keyEpoch)<<(nodeBits+counterBits) | k.node<<counterBits
	if fresh > k.last {
		k.last = fresh
		return fresh
	}
	if (k.last+1)&(1<<counterBits-1) == 0 {
		ms := k.last>>(nodeBits+counterBits) + 1
		k.last = ms<<(nodeBits+counterBits) | k.node<<counterBits
	} else {
		k.last++
	}
	return k.last
}

// counter names the row that remembers the node's last key.
func (k *keys) counter() string { return "last_key/" + strconv.FormatInt(k.node, 10) }

// keepKeys has none of the transaction's keys be given again. Where this process alone
// gives out keys of its node, it keeps one that is ahead, so that all batches of a
// second write it once; whoever begins anew goes on behind that one.
func (t *tx) keepKeys() error {
	alone := !t.w.remote && !t.w.shared
	if t.keys.last == t.w.keys.last || alone && t.keys.last <= t.w.keysKept {
		return nil
	}
	t.keysKept = t.keys.last
	if alone {
		t.keysKept += keysAhead
	}
	return t.later("INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", t.keys.counter(), t.keysKept)
}

// ids turns keys into public ids and back. A public id has the form of a cuid:
// 25 characters, "c", then the key (13 characters of base 36, so that ids sort
// by time), then 11 characters that only this installation can compute. So an
// id is found by its row's key, with no index of its own, and cannot be guessed.
type ids struct{ block cipher.Block }

const (
	idLength  = 25
	keyDigits = 13
	tagDigits = 11
)

func newIDs(secret []byte) (ids, error) {
	block, err := aes.NewCipher(secret)
	return ids{block}, err
}

// public gives the id of a key.
func (c ids) public(key int64) string {
	var out [idLength]byte
	out[0] = 'c'
	putBase36(out[1:1+keyDigits], uint64(key))
	putBase36(out[1+keyDigits:], c.tag(key))
	return string(out[:])
}

// key gives the key of an id, and whether this installation made the id.
func (c ids) key(id string) (int64, bool) {
	if len(id) != idLength || id[0] != 'c' {
		return 0, false
	}
	key, ok := parseBase36(id[1 : 1+keyDigits])
	if !ok || key > math.MaxInt64 {
		return 0, false
	}
	tag, ok := parseBase36(id[1+keyDigits:])
	return int64(key), ok && tag == c.tag(int64(key))
}

// tag is 56 bits of AES over the key.
func (c ids) tag(key int64) uint64 {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(key))
	c.block.Encrypt(b[:], b[:])
	return binary.BigEndian.Uint64(b[:]) >> 8
}

func putBase36(out []byte, v uint64) {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = digits[v%36]
		v /= 36
	}
}

func parseBase36(s string) (v uint64, ok bool) {
	for i := range len(s) {
		var d uint64
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c >= 'a' && c <= 'z':
			d = uint64(c-'a') + 10
		default:
			return 0, false
		}
		if v > (math.MaxUint64-d)/36 {
			return 0, false
		}
		v = v*36 + d
	}
	return v, true
}

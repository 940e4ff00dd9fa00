package tidings

import (
	"errors"
	"time"
)

// Shards is how many parts the lanes are divided into. Where several nodes serve
// one database, each holds some of them, and delivers for their endpoints alone.
const Shards = 1024

// ShardOf gives the part that an endpoint's lane belongs to, by its key. It must
// never change: nodes of two versions have to agree on it.
func ShardOf(endpoint int64) int {
	// The finaliser of SplitMix64: keys are times with a counter, so that their own
	// bits are anything but even.
	x := uint64(endpoint)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % Shards)
}

// ShardShare is how many shards each of so many nodes may hold at most.
func ShardShare(nodes int) int {
	nodes = max(nodes, 1)
	return (Shards + nodes - 1) / nodes
}

// Epochs says for each shard at which epoch a node holds it; 0: it does not.
// Each time that a shard changes hands its epoch grows, so that what its holder
// before still wants to write can be told apart.
type Epochs [Shards]int64

// Count is how many shards are held.
func (e *Epochs) Count() (n int) {
	for _, epoch := range e {
		if epoch != 0 {
			n++
		}
	}
	return n
}

// Tenure is what a node may deliver for, and until when.
type Tenure struct {
	Epochs  *Epochs
	Until   time.Time // by this process's monotonic clock; the lease ends later, if at all
	Nodes   int       // how many live and do not stop, this one among them
	Others  bool      // whether any other lives, be it about to stop
	Surplus int       // how many shards the node holds beyond its share, for it to give up
	Changes int64     // how often endpoints were changed, by any node: for those that do not hear of it
}

// Yield is what a node gives up. It does not wait for the attempts that it has in
// flight there: until they have ended, nobody else starts anything at their
// endpoints.
type Yield struct {
	Shards   map[int]int64 // with the epochs at which they are held: nothing of them starts here any more
	InFlight []int64       // the endpoints, by key, where an attempt goes on, in these shards and in those that were given up before
}

// ErrLaneTaken says that a lane belongs to another node, or did meanwhile, so
// that the result of an attempt is not recorded: the delivery is still pending,
// and whoever holds the lane sends it again.
var ErrLaneTaken = errors.New("the lane was taken over by another node")

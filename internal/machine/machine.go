// Package machine is what a process gets from the machine that it runs on: the time, chance and a name.
//
// There are two clocks. The wall clock can be wrong and can jump; the monotonic clock stands still
// while a laptop sleeps. Neither alone can say whether a token or a lease has ended.
package machine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"
)

// Machine is safe for concurrent use. Real is the one there is; a simulated process has its own,
// because simulated processes disagree about the time and their chance is drawn from a seed.
type Machine interface {
	Now() Reading
	Uint64() uint64
}

// Reading is one look at both clocks.
type Reading struct {
	Wall time.Time     // without a monotonic part
	Mono time.Duration // since some moment long ago; never zero, which can so mean "never"
}

// Since returns how far the wall clock and the monotonic clock went from then to r.
func (r Reading) Since(then Reading) (wall, mono time.Duration) {
	return r.Wall.Sub(then.Wall), r.Mono - then.Mono
}

// Real is the machine that the program runs on.
type Real struct{}

var start = time.Now()

// century keeps every reading positive: a synctest bubble's clock begins long before the process does.
const century = 100 * 365 * 24 * time.Hour

// Now implements Machine.
func (Real) Now() Reading {
	now := time.Now()
	return Reading{Wall: now.Round(0), Mono: now.Sub(start) + century}
}

// Uint64 implements Machine. It is not for secrets.
func (Real) Uint64() uint64 { return rand.Uint64() }

// Of returns the machine of the process that uses store: a simulated process brings its own along with
// its store.
func Of(store any) Machine {
	if s, ok := store.(interface{ Machine() Machine }); ok {
		return s.Machine()
	}
	return Real{}
}

// Name returns a fingerprint of the machine: the same for all its processes, another one on another machine. Empty: it
// has none that lasts. A hostname does not: it changes with the network, and with every container.
// It is a guess (machines are cloned) and no secret.
func Name(m Machine) string {
	if named, ok := m.(interface{ Name() string }); ok {
		return named.Name()
	}
	return name()
}

var name = sync.OnceValue(func() string {
	id, _ := os.ReadFile("/etc/machine-id") // Linux: stays when the machine is renamed
	return fingerprint(id)
})

// fingerprint is the name of a machine with that id; see machine-id(5) for what is none yet.
func fingerprint(id []byte) string {
	if said := string(bytes.TrimSpace(id)); said == "" || said == "uninitialized" {
		return ""
	}
	sum := sha256.Sum256(append([]byte("evergrant: "), id...))
	return hex.EncodeToString(sum[:8])
}

// UpTo returns a random duration from 0 to most.
func UpTo(m Machine, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(m.Uint64() % uint64(most+1))
}

// ID returns a word that nobody else has: of letters and digits, fit for a file name. It is no secret.
func ID(m Machine) string {
	return strconv.FormatUint(m.Uint64(), 36) + strconv.FormatUint(m.Uint64(), 36)
}

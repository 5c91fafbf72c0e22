package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// Listener lends a connection on which PostgreSQL's notifications are heard: it calls use with one that
// nobody else has meanwhile, and returns use's error or its own. A connection whose use has failed it
// closes; any other is as it was before. ctx is for the way to the connection, not for its use.
type Listener func(ctx context.Context, use func(Ear) error) error

// Ear is such a connection. It is for one goroutine at a time.
type Ear interface {
	// Exec runs a statement and drops its rows.
	Exec(ctx context.Context, statement string, args ...any) error

	// Next returns the text of the next notification. When ctx ends it returns an error, and the
	// connection stays in use.
	Next(ctx context.Context) (payload string, err error)
}

// channel carries the numbers of keys that have changed, of every table.
const channel = "evergrant"

// earPatience is how long a statement on the listening connection may take. One waits for the Swaps of a
// key that are under way.
const earPatience = 5 * time.Second

// board is where those who wait for keys are told of changes. A connection listens while anybody waits, and
// holds a shared lock on the number of every key that somebody waits for: Swap notifies only where it finds one.
type board struct {
	listener Listener
	table    string

	mu    sync.Mutex
	waits map[int64]*wait // by the key's number; guarded by mu
	now   *hearing        // nil: nobody waits; guarded by mu
}

// hearing is the life of one listening connection, from the way to it on.
type hearing struct {
	ctx  context.Context // ends when nobody waits any more
	stop context.CancelFunc
	wake context.CancelFunc // has it look at waits; nil: it will anyway; guarded by the board's mu
}

// wait is for one change of one key.
type wait struct {
	waiters int           // guarded by the board's mu
	armed   chan struct{} // closed once every change from then on is heard
	over    chan struct{} // closed at a change, or when the connection is lost
	err     error         // immutable once over is closed; nil: look again
}

// Wait implements tokenstore.Waiter. It holds one connection of the Listener for all who wait, and no longer
// than they do. Without a Listener it returns an error that wraps errors.ErrUnsupported.
func (s *Store) Wait(ctx context.Context, key string, not tokenstore.Version) error {
	if s.board == nil {
		return fmt.Errorf("sqlstore: there is no Options.Listener to wait with: %w", errors.ErrUnsupported)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	number := s.board.number(key)
	w := s.board.join(number)
	defer s.board.leave(number, w)
	select {
	case <-w.armed:
	case <-w.over:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
	now, err := s.version(ctx, key)
	if err != nil || now != not {
		return err
	}
	select {
	case <-w.over:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// version is the version of key, zero if it is absent.
func (s *Store) version(ctx context.Context, key string) (tokenstore.Version, error) {
	versions, err := s.keys(ctx, "look", s.statements.version, []byte(key))
	if err != nil || len(versions) == 0 {
		return "", err
	}
	return tokenstore.Version(versions[0]), nil
}

// tell wakes those who wait for keys.
func (s *Store) tell(ctx context.Context, keys [][]byte) error {
	var numbers []int64
	for _, key := range keys {
		numbers = append(numbers, s.board.number(string(key)))
	}
	list, err := json.Marshal(numbers)
	if err != nil {
		return fmt.Errorf("sqlstore: naming what was purged: %w", err)
	}
	_, err = s.exec(ctx, "notify", true, s.statements.tell, string(list))
	return err
}

// number stands for a key of the table in locks and notifications. Two keys that share one only wake each
// other's waiters.
func (b *board) number(key string) int64 {
	sum := sha256.Sum256([]byte(b.table + "\x00" + key))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

func (b *board) join(number int64) *wait {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.waits[number]
	if w == nil {
		w = &wait{armed: make(chan struct{}), over: make(chan struct{})}
		b.waits[number] = w
	}
	w.waiters++
	if b.now != nil {
		b.now.wakeLocked()
		return w
	}
	b.now = new(hearing)
	b.now.ctx, b.now.stop = context.WithCancel(context.Background())
	go b.run(b.now)
	return w
}

func (b *board) leave(number int64, w *wait) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.waiters--; w.waiters == 0 && b.waits[number] == w {
		b.removeLocked(number)
	}
}

// removeLocked ends the wait for a key, and with the last one the hearing.
func (b *board) removeLocked(number int64) {
	delete(b.waits, number)
	if len(b.waits) > 0 {
		b.now.wakeLocked()
		return
	}
	b.now.stop()
	b.now = nil
}

func (h *hearing) wakeLocked() {
	if h.wake != nil {
		h.wake()
	}
}

// run listens until nobody waits any more. If the connection is lost, those whom it had served look for
// themselves, and come back to wait on another one; those whom it had not get the error.
func (b *board) run(h *hearing) {
	defer h.stop()
	err := b.listener(h.ctx, func(ear Ear) error {
		if err := b.listen(h, ear); err != nil {
			return err
		}
		return hush(ear)
	})
	if err == nil {
		err = errors.New("the Listener lends no connection")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now != h {
		return // nobody waits for this one any more
	}
	b.now = nil
	for _, w := range b.waits {
		if !isClosed(w.armed) {
			w.err = fail("listen", err)
		}
		close(w.over)
	}
	clear(b.waits)
}

// listen returns nil once nobody waits any more.
func (b *board) listen(h *hearing, ear Ear) error {
	if err := exec(ear, `LISTEN `+channel); err != nil {
		return err
	}
	locked := make(map[int64]bool)
	for {
		ctx, wanted := b.wanted(h)
		if h.ctx.Err() != nil {
			return nil
		}
		if err := lock(ear, locked, wanted); err != nil {
			return err
		}
		payload, err := ear.Next(ctx)
		if err == nil {
			b.changed(h, payload)
		} else if ctx.Err() == nil {
			return err
		}
	}
}

// wanted returns what is waited for, and a context that ends when that changes.
func (b *board) wanted(h *hearing) (context.Context, map[int64]*wait) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h.wakeLocked() // nobody uses the former one any more
	var ctx context.Context
	ctx, h.wake = context.WithCancel(h.ctx)
	return ctx, maps.Clone(b.waits)
}

// lock makes the locks those on the keys that are wanted.
func lock(ear Ear, locked map[int64]bool, wanted map[int64]*wait) error {
	for number := range locked {
		if wanted[number] == nil {
			if err := exec(ear, `SELECT pg_advisory_unlock_shared($1)`, number); err != nil {
				return err
			}
			delete(locked, number)
		}
	}
	for number, w := range wanted {
		if !locked[number] {
			if err := exec(ear, `SELECT pg_advisory_lock_shared($1)`, number); err != nil {
				return err
			}
			locked[number] = true
		}
		if !isClosed(w.armed) {
			close(w.armed)
		}
	}
	return nil
}

// hush leaves the connection as it was.
func hush(ear Ear) error {
	if err := exec(ear, `UNLISTEN `+channel); err != nil {
		return err
	}
	return exec(ear, `SELECT pg_advisory_unlock_all()`)
}

func exec(ear Ear, statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), earPatience)
	defer cancel()
	return ear.Exec(ctx, statement, args...)
}

// changed tells those who wait for a key that it has changed.
func (b *board) changed(h *hearing, payload string) {
	number, err := strconv.ParseInt(payload, 10, 64)
	if err != nil {
		return // not ours
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.waits[number]; w != nil && b.now == h {
		close(w.over)
		b.removeLocked(number)
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/evergrant/evergrant/tokenstore"
)

// longestWait is when Wait returns at the latest: a message may have been lost, or its sender may not publish.
const longestWait = 10 * time.Second

// Wait implements tokenstore.Waiter. Everybody who waits on a Store shares one connection beside the client's pool,
// which is there only meanwhile. Wait returns nil after ten seconds at the latest, and an error where it cannot listen.
func (s *Store) Wait(ctx context.Context, key string, not tokenstore.Version) error {
	if err := ctx.Err(); err != nil {
		return s.fail(ctx, "wait", key, err)
	}
	name := s.prefix + key
	heard := s.ear.join(name)
	defer s.ear.leave(heard.line, name)
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	select {
	case <-heard.ready:
	case <-heard.line.lost:
		return s.fail(ctx, "wait", key, heard.line.err)
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return s.fail(ctx, "wait", key, ctx.Err())
	}
	// What changed before this look shows in it; what changes after it is heard.
	version, err := s.ask(ctx, s.client, "GETRANGE", name, 0, versionLength-1)
	if err != nil {
		return s.fail(ctx, "wait", key, err)
	}
	if version != string(not) {
		return nil
	}
	select {
	case <-heard.changed:
	case <-heard.line.lost: // and a message with it, perhaps
	case <-timer.C:
	case <-ctx.Done():
		return s.fail(ctx, "wait", key, ctx.Err())
	}
	return nil
}

// listener keeps one line to the server for all who wait.
type listener struct {
	client redis.UniversalClient

	mu   sync.Mutex
	line *line // nil: nobody waits; guarded by mu
}

// line is a connection that listens to channels.
type line struct {
	listener *listener
	pubsub   *redis.PubSub
	hangUp   context.CancelFunc
	wanted   chan struct{} // holds one token if the channels have changed

	channels map[string]*channel // guarded by the listener's mu
	waiters  int                 // of all channels; guarded by the listener's mu

	lost chan struct{} // closed when nothing is heard any more
	err  error         // why; written before lost is closed
}

// channel is what the line knows of one channel. All of it is guarded by the listener's mu.
type channel struct {
	waiters     int
	asked       bool          // the last thing asked of the server is to hear it
	unconfirmed int           // how often that was asked and not confirmed yet
	ready       chan struct{} // closed once every message is heard
	changed     chan struct{} // closed at the next message
}

// hearing is what one waiter looks at.
type hearing struct {
	line           *line
	ready, changed <-chan struct{}
}

// join adds a waiter for the channel called name.
func (l *listener) join(name string) hearing {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.line == nil {
		l.line = l.call()
	}
	c := l.line.channels[name]
	if c == nil {
		c = &channel{ready: make(chan struct{}), changed: make(chan struct{})}
		l.line.channels[name] = c
	}
	l.line.waiters++
	if c.waiters++; !c.asked {
		l.line.want()
	}
	return hearing{l.line, c.ready, c.changed}
}

// call begins a line.
func (l *listener) call() *line {
	ctx, cancel := context.WithCancel(context.Background())
	n := &line{
		listener: l, pubsub: l.client.Subscribe(ctx), hangUp: cancel,
		wanted: make(chan struct{}, 1), channels: make(map[string]*channel), lost: make(chan struct{}),
	}
	go n.speak(ctx)
	return n
}

// leave takes the waiter away. The last one ends the line.
func (l *listener) leave(n *line, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.waiters--
	n.channels[name].waiters--
	n.want()
	if n.waiters > 0 {
		return
	}
	if l.line == n {
		l.line = nil
	}
	n.hangUp()
}

// want has the server told what is to be heard now.
func (n *line) want() {
	select {
	case n.wanted <- struct{}{}:
	default:
	}
}

// speak tells the server what is to be heard, in an order that fits what the waiters saw, until the line ends.
func (n *line) speak(ctx context.Context) {
	defer n.hangUp()
	defer n.pubsub.Close()
	for listens := false; ; {
		select {
		case <-n.wanted:
		case <-ctx.Done():
			return
		}
		begin, end := n.changes()
		var err error
		if len(begin) > 0 {
			err = n.pubsub.Subscribe(ctx, begin...)
		}
		if err == nil && len(end) > 0 {
			err = n.pubsub.Unsubscribe(ctx, end...)
		}
		if err != nil {
			n.lose(err)
			return
		}
		if !listens {
			go n.listen(ctx)
			listens = true
		}
	}
}

// changes returns the channels that are to be heard from now on, and those that are not any more.
func (n *line) changes() (begin, end []string) {
	n.listener.mu.Lock()
	defer n.listener.mu.Unlock()
	for name, c := range n.channels {
		switch {
		case c.waiters > 0 && !c.asked:
			c.asked = true
			c.unconfirmed++
			begin = append(begin, name)
		case c.waiters == 0 && c.asked:
			c.asked = false
			c.ready = make(chan struct{})
			end = append(end, name)
		}
		if c.waiters == 0 && c.unconfirmed == 0 {
			delete(n.channels, name)
		}
	}
	return begin, end
}

// listen hears what the server says until the line ends.
func (n *line) listen(ctx context.Context) {
	for {
		said, err := n.pubsub.Receive(ctx)
		if err != nil {
			n.lose(err)
			return
		}
		switch m := said.(type) {
		case *redis.Subscription:
			n.confirmed(m)
		case *redis.Message:
			n.changed(m.Channel)
		}
	}
}

// confirmed notes that the server has taken a wish. Those for one channel are confirmed in their order, so the last one
// is in force when none is open.
func (n *line) confirmed(m *redis.Subscription) {
	n.listener.mu.Lock()
	defer n.listener.mu.Unlock()
	c := n.channels[m.Channel]
	if c == nil || m.Kind != "subscribe" {
		return
	}
	if c.unconfirmed == 0 {
		return // go-redis has moved to another connection by itself
	}
	if c.unconfirmed--; c.unconfirmed == 0 && c.asked {
		close(c.ready)
	}
	if c.waiters == 0 {
		n.want() // it can be forgotten
	}
}

// changed wakes everybody who waits for the channel called name.
func (n *line) changed(name string) {
	n.listener.mu.Lock()
	defer n.listener.mu.Unlock()
	if c := n.channels[name]; c != nil {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// lose ends a line that broke, and wakes everybody.
func (n *line) lose(err error) {
	n.listener.mu.Lock()
	defer n.listener.mu.Unlock()
	if n.err != nil {
		return
	}
	n.err = err
	close(n.lost)
	if n.listener.line == n {
		n.listener.line = nil
	}
	n.hangUp()
}

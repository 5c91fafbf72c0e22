package client

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// Event is something that happened to a grant. It holds no secret. Kind is one of
//
//	login           a person has logged in, or a token was adopted
//	logout          the grant was deleted; Err says if it could not be revoked
//	renewed         the server has given a new access token
//	rotated         with it came a new refresh token
//	adopted         somebody else over the same store has renewed or logged in; nothing was asked of the server
//	rejected        a resource server has rejected an access token
//	replayed        a request was sent again: to a resource server after a rejection, or to the token
//	                endpoint with a refresh token whose first answer was lost
//	lost answer     a refresh token was sent and its answer will not come: it may be spent
//	failed          a renewal has failed; Err says how. Requests go on while the access token lasts
//	save failed     new tokens could not be saved: they are kept in memory and saved again
//	saved           they are in the store after all, or outdone by what has happened to it since
//	id token refused
//	                an id token that came with the tokens of a renewal, or of Adopt, is not good, as Err says: the tokens
//	                are used, and Session.Claims stays as it was
//	issuer changed  another authorization server guards Config.Resource than before: its grants need a new login
//	store           the store has something to tell its operator, in Reason: see tokenstore.Notifier
//	step-up         Config.StepUp was called because a resource server wants more than the grant gives; Err says how
//	                that has failed, nil: it has not
//	login required  the session is of no use until a person logs in; Err says why. Told once for each resource
type Event struct {
	// Kind is one of the words above.
	Kind string
	// Time is when it happened, by the local wall clock.
	Time time.Time
	// Issuer is the issuer, or the token endpoint where no issuer is known.
	Issuer string
	// Session is the session's key, Resource its resource (RFC 8707), empty where none is named.
	Session, Resource string
	// Reason says in words why it happened.
	Reason string
	// Attempt counts the token requests of a renewal, the tries of a save and the sendings of a request, from
	// 1; 0 where nothing is counted.
	Attempt int
	// Duration is how long the renewal has taken so far; 0 where there is none.
	Duration time.Duration
	// Generation is that of the tokens in question; 0 where there are none.
	Generation uint64
	// Err is what went wrong, an *Error; nil if nothing did.
	Err error
	// Missed counts the events before this one that were dropped because OnEvent was slow.
	Missed int
}

// LogValue implements slog.LogValuer: a group of what is known.
func (e Event) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", e.Kind), slog.String("issuer", e.Issuer), slog.String("session", e.Session)}
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	text("resource", e.Resource)
	text("reason", e.Reason)
	if e.Attempt > 0 {
		attrs = append(attrs, slog.Int("attempt", e.Attempt))
	}
	if e.Duration > 0 {
		attrs = append(attrs, slog.Duration("duration", e.Duration))
	}
	if e.Generation > 0 {
		attrs = append(attrs, slog.Uint64("generation", e.Generation))
	}
	if e.Err != nil {
		text("error", e.Err.Error())
	}
	if e.Missed > 0 {
		attrs = append(attrs, slog.Int("missed", e.Missed))
	}
	return slog.GroupValue(attrs...)
}

// level is how much a person who reads logs needs to know of it.
func (e Event) level() slog.Level {
	switch e.Kind {
	case "rotated", "adopted":
		return slog.LevelDebug
	case "login", "renewed", "saved":
		return slog.LevelInfo
	case "logout", "step-up":
		if e.Err == nil {
			return slog.LevelInfo
		}
	}
	return slog.LevelWarn
}

// LogEvents returns a Config.OnEvent that writes every event to logger: the Kind is the message. What
// is normal comes at the levels debug and info, what is not as a warning.
func LogEvents(logger *slog.Logger) func(Event) {
	return func(e Event) {
		ctx, handler := context.Background(), logger.Handler()
		if !handler.Enabled(ctx, e.level()) {
			return
		}
		r := slog.NewRecord(e.Time, e.level(), e.Kind, 0)
		r.AddAttrs(e.LogValue().Group()[1:]...) // the kind is the message
		_ = handler.Handle(ctx, r)              // as a slog.Logger does
	}
}

// eventsMost is how many events wait for a slow OnEvent. It bounds memory, nothing else.
const eventsMost = 1024

// events wait to be told.
type events struct {
	mu      sync.Mutex
	waiting []Event // guarded by mu
	missed  int     // guarded by mu
	telling bool    // guarded by mu
}

// happened tells e of a session.
func (s *Session) happened(e Event) {
	e.Resource = s.resource
	s.account.happened(e)
}

// happened tells e of an account.
func (a *account) happened(e Event) {
	e.Session = a.key
	a.client.happened(e)
}

// noticed tells what the store says of one of the Client's keys, or of all keys.
func (c *Client) noticed(key, text string) {
	e := Event{Kind: "store", Reason: text}
	if key != "" {
		issuer, clientID, session, err := tokenstore.SplitKey(key)
		if err != nil || issuer != c.issuer() || clientID != c.id {
			return // another Client over the same store hears it
		}
		e.Session = session
	}
	c.happened(e)
}

// happened queues e. Whoever calls it may hold locks: nobody else's code runs here.
func (c *Client) happened(e Event) {
	if c.config.OnEvent == nil {
		return
	}
	e.Time, e.Issuer = c.machine.Now().Wall, c.issuer()
	e.Resource, _ = split(e.Resource)
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	if len(c.events.waiting) == eventsMost {
		c.events.missed++
		return
	}
	e.Missed, c.events.missed = c.events.missed, 0
	c.events.waiting = append(c.events.waiting, e)
	if c.events.telling {
		return
	}
	task := c.tasks.follow("events that OnEvent has not taken")
	if task == nil {
		c.events.waiting = nil // the Client is closed
		return
	}
	c.events.telling = true
	go c.tellEvents(task)
}

// tellEvents tells what waits, one after the other, until nothing does.
func (c *Client) tellEvents(task *task) {
	hasReturned := false
	defer func() {
		if !hasReturned { // OnEvent has ended the goroutine (runtime.Goexit)
			go c.tellEvents(task)
		}
	}()
	for {
		c.events.mu.Lock()
		if len(c.events.waiting) == 0 {
			c.events.waiting, c.events.telling = nil, false
			c.events.mu.Unlock()
			hasReturned = true
			c.tasks.end(task)
			return
		}
		e := c.events.waiting[0]
		c.events.waiting = c.events.waiting[1:]
		c.events.mu.Unlock()
		c.tell(e)
	}
}

// tell calls OnEvent, whose panic ends nothing of ours.
func (c *Client) tell(e Event) {
	defer func() { _ = recover() }()
	c.config.OnEvent(e)
}

package client

import (
	"context"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// Flow is a way in which a person logs in, in this process: Browser or Device. The flows of this
// package are the only ones; a web backend uses Session.Start and Session.Finish.
type Flow interface {
	// login has the person log in and returns the authorization server's answer.
	login(ctx context.Context, s *Session) (*loggedIn, error)
}

// loggedIn is what a flow brings.
type loggedIn struct {
	answer  *authserver.Answer
	sent    time.Time       // when the token request was sent, by the local wall clock
	client  *record.Client  // that the grant was given to; nil: that of the Config
	scopes  []string        // the scopes asked for: granted, unless the answer says otherwise
	nonce   string          // that the id token must carry; empty: none was asked for
	asked   string          // of how the person authenticates; see authentication
	replace bool            // another subject may take the place of the stored one
	binding *record.Binding // the key that the tokens are to be bound to; nil: none
	// resource is what the access token is for (RFC 8707); empty: nothing in particular
	resource string
	// tell shows the person the outcome once the grant is saved, or is not; nil: nobody is shown
	tell func(error)
}

// Login has a person log in through flow and saves the grant. It returns once the grant is durable, or
// with an *Error: the server's refusal (access_denied when the person said no), ErrOtherSubject, the
// context's error. A store that cannot be read, or that says that it cannot be written (tokenstore.Prober),
// is an error before the person is asked; so is a Config.Grant, which needs nobody, a *ConfigError. The grant that was there before stays until the new one is saved.
func (s *Session) Login(ctx context.Context, flow Flow) error {
	if s.client.tasks.isClosed() {
		return ErrClosed
	}
	return s.fail("login", s.login(ctx, flow))
}

func (s *Session) login(ctx context.Context, flow Flow) error {
	if flow == nil {
		return &ConfigError{"Login's flow", "is nil; use Browser{}, or a Device with a Prompt"}
	}
	if err := s.forPerson(); err != nil {
		return err
	}
	if err := s.probe(ctx); err != nil {
		return err
	}
	got, err := flow.login(ctx, s)
	if err != nil {
		return err
	}
	err = s.saveLogin(ctx, got)
	if got.tell != nil {
		got.tell(err)
	}
	return err
}

// forPerson refuses what is for a person where the Config's grant needs none: a session renews by running that again, so that
// what a person has granted would never be used.
func (a *account) forPerson() error {
	if a.client.config.Grant != nil {
		return &ConfigError{"Config.Grant", "needs no person; use a Client without one"}
	}
	return nil
}

// probe looks whether the store is ready: a person does not log in for one that is locked, absent, full or
// damaged.
func (a *account) probe(ctx context.Context) error {
	if _, err := a.load(ctx); err != nil {
		return err
	}
	if store, ok := a.client.store.(tokenstore.Prober); ok {
		return store.Probe(ctx)
	}
	return nil
}

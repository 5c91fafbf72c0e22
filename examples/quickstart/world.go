package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/examples/internal/demo"
)

// life is how long the embedded provider's access tokens live.
const life = 2 * time.Second

// world is what is around the program: a provider and an API, inside it or real, a person, a store.
type world struct {
	began    time.Time
	store    *place
	calls    *calls
	byHand   bool // a person logs in, in the system's browser
	logins   int
	provider *demo.Provider // nil: a real one
	api      *demo.API      // nil: a real one
}

// newWorld starts what o does not name, and names it in o.
func newWorld(o *options) (*world, error) {
	w := &world{began: time.Now(), byHand: o.browser || o.issuer != ""}
	if o.issuer != "" && o.url == "" {
		return nil, errors.New("-issuer needs -url: what shall be called?")
	}
	var err error
	if w.store, err = newPlace(o.store); err != nil {
		return nil, err
	}
	w.calls = &calls{pause: time.Second}
	if o.issuer == "" {
		w.calls.pause = 50 * time.Millisecond
		w.provider, err = demo.StartProvider(life, func(event string) { w.say("provider", "%s", event) })
		if err != nil {
			w.close()
			return nil, err
		}
		w.api = demo.StartAPI(w.provider)
		o.issuer, o.clientID, o.clientSecret, o.url = w.provider.Issuer, demo.ClientID, "", w.api.URL
		w.say("provider", "is at %s; access tokens live for %v, refresh tokens are good once", o.issuer, life)
	}
	w.calls.url = o.url
	return w, nil
}

// say tells what somebody does, as it happens.
func (w *world) say(who, format string, args ...any) {
	fmt.Printf("%5.1fs  %-8s  %s\n", time.Since(w.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// browser is how the person logs in, once more. Without a person the program plays one, with a browser of its own.
func (w *world) browser(ctx context.Context) client.Browser {
	w.logins++
	if w.byHand {
		return client.Browser{Output: os.Stdout}
	}
	return client.Browser{Open: func(address string) error {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		return demo.SignIn(ctx, &http.Client{Jar: jar}, address)
	}}
}

// upset makes things hard, once: the embedded provider ends the access token early. From a real one the
// program asks for a new token before its time.
func (w *world) upset(ctx context.Context, session *client.Session) {
	pause(ctx, life)
	if w.provider == nil {
		if _, err := session.Renew(ctx, nil); err != nil {
			w.say("program", "asks for a new access token: %v", err)
			return
		}
		w.say("program", "has asked for a new access token")
		return
	}
	// In the middle between two renewals: each of them ends a token too, and a request whose token is
	// ended twice in a row is sent once more only.
	for before := w.provider.Counts().Renewals; ctx.Err() == nil && w.provider.Counts().Renewals == before; {
		pause(ctx, 10*time.Millisecond)
	}
	pause(ctx, life/3)
	if ctx.Err() == nil {
		w.say("provider", "revokes the access token, early; the grant stays")
		w.provider.RevokeAccessTokens()
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// verdict prints the last line, or returns what went wrong.
func (w *world) verdict(ctx context.Context) error {
	renewals, logins := w.calls.tokens-1, w.logins
	if w.provider != nil {
		counts := w.provider.Counts()
		if counts.Refused > 0 {
			return fmt.Errorf("the provider has refused %d refresh tokens", counts.Refused)
		}
		renewals, logins = counts.Renewals, counts.Logins
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case w.calls.failed > 0:
		return fmt.Errorf("%d of %d requests failed, first: %w", w.calls.failed, w.calls.requests, w.calls.first)
	case w.calls.requests == 0 || renewals == 0 || logins > 1:
		return fmt.Errorf("nothing was shown: %d requests, %d renewals, %d logins", w.calls.requests, renewals, logins)
	}
	if w.api != nil {
		w.say("api", "has answered 401 to %d requests; each was sent once more, with a new token", w.api.Refused())
	}
	fmt.Printf("ok: requests=%d failed=0 renewals=%d logins=%d\n", w.calls.requests, renewals, logins)
	return nil
}

func (w *world) close() {
	if w.api != nil {
		w.api.Close()
	}
	if w.provider != nil {
		w.provider.Close()
	}
	w.store.remove()
}

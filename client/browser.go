package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/cli/browser"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/loopback"
)

// Browser logs a person in with the browser of this machine: the authorization code flow for native
// apps (RFC 8252), with PKCE S256 (RFC 7636), state, and iss where the server sends it (RFC 9207). The
// response comes back to Config.RedirectURL, which must be a loopback address; without a port in it, as in the
// http://localhost of Google's credentials.json, the port is ephemeral (RFC 8252 §7.3). The port is open only
// during the login. The browser is shown the outcome once the grant is saved, or is not.
//
// A program that is a client of several authorization servers gives each Client a RedirectURL with a path of its own,
// such as http://127.0.0.1:0/callback/example, and registers at each server that one alone: with servers that do not
// send iss, this is what keeps one from passing off another's answers as its own (RFC 8252 §8.10, RFC 9700 §4.4.2.2).
//
// The zero Browser opens the system browser and says nothing. Where that may be on another machine
// (SSH, a container), set Output and Input, or use Device. A login waits for the person until its
// context ends: give it some minutes.
type Browser struct {
	// Scopes are asked for beside those of the Config. Nil: those alone.
	Scopes []string

	// Params are further parameters of the authorization request: see AuthCode.
	Params url.Values

	// Replace lets another subject than the stored one log in.
	Replace bool

	// Open opens an address in the person's browser. It may return late: a login does not wait for
	// it. Nil: the system browser, by github.com/cli/browser; what that prints goes to its
	// browser.Stdout and browser.Stderr.
	Open func(address string) error

	// Output gets the address in words for the person, who may open it anywhere. Nil: nothing is
	// written, and a browser that cannot be opened ends the login.
	Output io.Writer

	// Input is read by lines for the address to which the browser was sent back: a person whose browser
	// is on another machine pastes it. Whichever response comes first counts. A Read cannot be
	// interrupted: one that is under way when the login ends takes what comes next. Nil: nothing
	// is read.
	Input io.Reader
}

// login implements Flow.
func (b Browser) login(ctx context.Context, s *Session) (*loggedIn, error) {
	ctx, cancel := s.client.whileOpen(ctx)
	defer cancel()
	l, err := loopback.Listen(withPort(s.client.config.RedirectURL))
	if err != nil {
		return nil, fmt.Errorf("Config.RedirectURL does not do for a Browser login: %w", err)
	}
	got, err := b.ask(ctx, s, l)
	if err != nil {
		showOutcome(l, err)
		return nil, err
	}
	got.tell = func(err error) { showOutcome(l, err) }
	return got, nil
}

// withPort is a redirect URL with port 0, an ephemeral one, where it names none.
func withPort(redirectURL string) string {
	u, err := url.Parse(redirectURL)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.Port() != "" {
		return redirectURL
	}
	return strings.Replace(redirectURL, "//"+u.Host, "//"+strings.TrimSuffix(u.Host, ":")+":0", 1)
}

// showOutcome shows the waiting browser how the login went, and ends l.
func showOutcome(l *loopback.Listener, err error) {
	refusal, _ := errors.AsType[*Error](err)
	failure, _ := errors.AsType[*authserver.Failure](err)
	switch {
	case err == nil:
		l.Succeed()
	case refusal != nil:
		l.Fail(refusal.Code)
	case failure != nil:
		l.Fail(failure.Code)
	default:
		l.Fail("")
	}
	l.Close()
}

// ask has the person asked by the server, and redeems the answer.
func (b Browser) ask(ctx context.Context, s *Session, l *loopback.Listener) (_ *loggedIn, err error) {
	p, err := s.begin(ctx, AuthCode{Scopes: b.Scopes, Params: b.Params, Replace: b.Replace}, l.RedirectURL())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && !p.spent.Load() {
			s.client.unregister(ctx, p.who())
		}
	}()
	if err := b.announce(p); err != nil {
		return nil, err
	}
	response, err := b.await(ctx, p, l)
	if err != nil {
		return nil, err
	}
	return s.redeem(ctx, p, response)
}

// announce writes to the person.
func (b Browser) announce(p *Pending) error {
	text := "To log in, open this address in a browser:\n\n    " + p.URL + "\n\n"
	if b.Input != nil {
		text += "If the browser then cannot reach its last address, paste that address here and press Enter.\n\n"
	}
	if err := b.say(text); err != nil {
		return fmt.Errorf("the address to log in at cannot be shown on Browser.Output: %w", err)
	}
	return nil
}

func (b Browser) say(text string) error {
	if b.Output == nil {
		return nil
	}
	_, err := io.WriteString(b.Output, text)
	return err
}

// await returns the first authorization response that answers p: received by l or pasted.
func (b Browser) await(ctx context.Context, p *Pending, l *loopback.Listener) (url.Values, error) {
	type received struct {
		response url.Values
		err      error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan received, 3) // one of each goroutine
	go func() {
		response, err := l.Wait(ctx, p.answers)
		results <- received{response, err}
	}()
	go func() {
		isOpen, err := b.open(p.URL)
		if err != nil {
			results <- received{err: err}
		} else if !isOpen {
			b.announceAgain(ctx, p)
		}
	}()
	if b.Input != nil {
		go func() {
			if response := b.readPasted(ctx, p); response != nil {
				results <- received{response: response}
			}
		}()
	}
	select {
	case first := <-results:
		if ctx.Err() == nil {
			return first.response, first.err
		}
	case <-ctx.Done():
	}
	return nil, fmt.Errorf("no response has come to %s; if the browser shows an error instead of a login page, check that "+
		"the server knows this ClientID with this redirect URL: %w", l.RedirectURL(), ended(ctx))
}

// announceAgain writes a new address whenever the last one has ended, to a person who opens it by hand: a pushed
// request is good for a minute or so (RFC 9126 §2.2). The login stays the same, whichever address the person takes, and
// goes on where there is no new one: the person may be logging in already.
func (b Browser) announceAgain(ctx context.Context, p *Pending) {
	for life := p.life; p.again != nil && sleep(ctx, life) == nil; {
		address, next, err := p.again(ctx)
		if err == nil {
			life = next
			_ = b.say("That address has ended. Open this one, unless you are logging in already:\n\n    " + address + "\n\n")
		}
	}
}

// open opens address, which begin has made of an https or loopback one. That it cannot be opened is
// an error only where the person has no other way to see it.
func (b Browser) open(address string) (isOpen bool, err error) {
	openURL := b.Open
	if openURL == nil {
		openURL = browser.OpenURL
	}
	if err = openURL(address); err == nil {
		return true, nil
	}
	if b.Output != nil {
		return false, nil
	}
	return false, fmt.Errorf("the browser cannot be opened; set Browser.Output to show the address, or use Device: %w", err)
}

// readPasted reads Input until a line answers p, or to its end.
func (b Browser) readPasted(ctx context.Context, p *Pending) url.Values {
	const longest = 64 << 10
	lines := bufio.NewScanner(b.Input)
	lines.Buffer(nil, longest)
	for lines.Scan() && ctx.Err() == nil {
		line := strings.Trim(lines.Text(), " \t\"'<>")
		if line == "" {
			continue
		}
		if response := parsePasted(line); p.answers(response) {
			return response
		}
		_ = b.say("This is not the address that this login ends at. It has a \"?\" with \"state=\" after it.\n")
	}
	return nil
}

// parsePasted reads the parameters of an authorization response in an address. What stands before them
// is not looked at: browsers show it in different ways, and the state says whose it is.
func parsePasted(line string) url.Values {
	_, query, _ := strings.Cut(line, "?")
	query, _, _ = strings.Cut(query, "#")
	response, err := url.ParseQuery(query)
	if err != nil {
		return nil
	}
	return response
}

// whileOpen returns a context that ends with ctx, and with ErrClosed when the Client is closed: a person
// who logs in afterwards would do so in vain.
func (c *Client) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.tasks.closing:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

package authserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Outcome is what a failed request means for what it carried.
type Outcome int

const (
	// NotProcessed: no connection, or the server was too busy to look. It may be sent again.
	NotProcessed Outcome = iota
	// MaybeProcessed: it was sent, and what came back says nothing: a broken connection, another 5xx,
	// a page instead of an answer.
	MaybeProcessed
	// Unanswered: it was sent, and the context ended before the answer.
	Unanswered
	// InvalidGrant: the server's own word that the grant is gone.
	InvalidGrant
	// Doubtful: a refusal in words that some servers use for a dead grant.
	Doubtful
	// Unrelated: a 4xx that says nothing about the grant: a proxy, a firewall, a portal.
	Unrelated
	// Misconfigured: the server refuses the client or the request as such.
	Misconfigured
)

// Failure is a request that has failed. It holds neither a body nor a secret: every value that was
// sent is cut out of the server's words.
type Failure struct {
	Outcome                Outcome
	Status                 int    // 0: no answer
	Code, Description, URI string // RFC 6749 §5.2
	RetryAfter             time.Duration
	Date                   time.Time // the answer's Date header
	Err                    error     // the cause, where there is one beside the answer
}

// Error implements error.
func (f *Failure) Error() string {
	var parts []string
	if f.Status != 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("the server answered %d %s", f.Status, http.StatusText(f.Status))))
	}
	if f.Code != "" {
		parts = append(parts, f.Code)
	}
	if f.Description != "" {
		parts = append(parts, "("+f.Description+")")
	}
	text := strings.Join(parts, " ")
	if f.Err != nil {
		text = strings.TrimPrefix(text+": "+f.Err.Error(), ": ")
	}
	if f.RetryAfter > 0 {
		text += fmt.Sprintf("; try again in %v", f.RetryAfter)
	}
	if advice := f.advice(); advice != "" {
		text += "; " + advice
	}
	return text
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// advice says where to look.
func (f *Failure) advice() string {
	switch {
	case f.Code == "invalid_client":
		return "check ClientID, ClientSecret and how the client authenticates (Endpoint.AuthStyle)"
	case f.Code == "unauthorized_client", f.Code == "unsupported_grant_type":
		return "allow this grant to the client at the server"
	case f.Code == "invalid_scope":
		return "check Scopes"
	case f.Outcome == Misconfigured && f.Status >= 300 && f.Status < 400:
		return "the endpoint redirects, which is not followed: set the endpoint's final address"
	case f.Outcome == Misconfigured && (f.Status == http.StatusNotFound || f.Status == http.StatusMethodNotAllowed):
		return "check the endpoint's address"
	}
	return ""
}

// noAnswer is the failure of a request that brought no answer.
func noAnswer(ctx context.Context, written bool, err error) *Failure {
	f := &Failure{Outcome: NotProcessed, Err: err}
	if written {
		f.Outcome = MaybeProcessed
		if ctx.Err() != nil {
			f.Outcome = Unanswered
		}
	}
	return f
}

// misconfigured are the codes that refuse the client or the request as such (RFC 6749 §5.2, RFC 8707 §2).
var misconfigured = []string{"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"}

// outcome classifies an answer that brought no tokens, by its status and its error code.
func outcome(status int, code string, isJSON, isEmpty bool) Outcome {
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable, code == "temporarily_unavailable":
		return NotProcessed
	case status >= 500:
		return MaybeProcessed
	case status >= 300 && status < 400:
		return Misconfigured
	case code == "invalid_grant":
		return InvalidGrant
	case slices.Contains(misconfigured, code):
		return Misconfigured
	case status < 300 && code == "", code == "server_error":
		return MaybeProcessed
	case status < 300:
		return Doubtful // an error under 200
	case (status == http.StatusBadRequest || status == http.StatusUnauthorized) && isJSON && code != "":
		return Doubtful
	case status == http.StatusBadRequest && isEmpty:
		return Doubtful
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusGone:
		return Misconfigured
	}
	return Unrelated
}

// retryAfter reads Retry-After (RFC 9110 §10.2.3), seconds or a date; a date counts from the answer's
// own. Some servers call it X-Retry-After.
func retryAfter(h http.Header) time.Duration {
	const most = 24 * time.Hour
	value := h.Get("Retry-After")
	if value == "" {
		value = h.Get("X-Retry-After")
	}
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		return min(max(time.Duration(seconds)*time.Second, 0), most)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now := date(h)
	if now.IsZero() {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), most)
}

func date(h http.Header) time.Time {
	at, _ := http.ParseTime(h.Get("Date"))
	return at
}

// scrubber cuts out of foreign words what was sent.
type scrubber struct{ replacer *strings.Replacer }

// harmless are the parameters that may be repeated in an error.
var harmless = []string{"grant_type", "client_id", "redirect_uri", "scope", "token_type_hint", "resource", "audience"}

func newScrubber(form url.Values, secrets ...string) scrubber {
	authorization := secrets[len(secrets)-1]
	secrets = append(secrets, strings.TrimPrefix(authorization, "Basic "))
	for name, values := range form {
		if !slices.Contains(harmless, name) {
			secrets = append(secrets, values...)
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // longest first
	var pairs []string
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			pairs = append(pairs, form, "[redacted]")
		}
	}
	return scrubber{strings.NewReplacer(pairs...)}
}

// words makes a server's text fit for an error: without secrets, printable, short.
func (s scrubber) words(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s.replacer.Replace(text))
	runes := []rune(strings.TrimSpace(text))
	return string(runes[:min(len(runes), most)])
}

// error makes a network error fit to be shown. A *url.Error names the address with its query; what it
// wraps is kept, its text is not where it could repeat what was sent.
func (s scrubber) error(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	text := s.words(err.Error())
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		text = s.words(op.Error())
	}
	return &shownError{text, err}
}

// shownError is an error with its text made fit to be shown.
type shownError struct {
	text string
	err  error
}

// Error implements error.
func (e *shownError) Error() string { return e.text }

// Is and As look into the cause, which is not handed out: its own text may show what was sent.
func (e *shownError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *shownError) As(target any) bool   { return errors.As(e.err, target) }

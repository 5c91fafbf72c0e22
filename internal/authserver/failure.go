package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Outcome is what a failed request means for what it carried.
type Outcome int

const (
	// NotProcessed: nothing left, or the server was too busy to look. It may be sent again.
	NotProcessed Outcome = iota
	// MaybeProcessed: it was sent, and what came back says nothing: a broken connection, a body cut
	// short, another 5xx, a page under 200.
	MaybeProcessed
	// Unanswered: it was sent, and time ran out before the answer: the context's, or a limit of the
	// HTTP client. The server may still be at it.
	Unanswered
	// InvalidGrant: the server's own word that the grant is gone.
	InvalidGrant
	// Doubtful: a refusal in words that some servers use for a dead grant; Code holds them, if any.
	Doubtful
	// Unrelated: a 4xx that says nothing about the grant: a proxy, a firewall, a portal.
	Unrelated
	// Misconfigured: the server refuses the client or the request as such.
	Misconfigured
)

// Failure is a request that has failed. It holds neither a body nor a secret: every value that was
// sent is cut out of the server's words, which are printable and short.
type Failure struct {
	Outcome                Outcome
	Status                 int           // 0: no answer
	Code, Description, URI string        // error, error_description, error_uri (RFC 6749 §5.2); "": not said
	RetryAfter             time.Duration // 0: not said
	Date                   time.Time     // the answer's Date header; zero: none
	Method                 Method        // how the client authenticated; "": there was no answer
	Err                    error         // the cause, where there is one beside the answer
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
		return f.Method.advice()
	case f.Code == "unauthorized_client", f.Code == "unsupported_grant_type":
		return "allow this grant to the client at the server"
	case f.Code == "invalid_scope":
		return "check Scopes"
	case f.Code == "invalid_target", f.Code == "invalid_resource":
		return "check Resource"
	case f.Code == "invalid_authorization_details":
		return "check authorization_details"
	case f.Code == "use_dpop_nonce":
		return "the server wants a DPoP proof with a nonce, of which it gives none that holds: ask whoever runs it, or set DPoP if it is nil"
	case f.Code == "invalid_dpop_proof":
		return "check DPoP and this machine's clock"
	case f.Outcome == Misconfigured && f.Status >= 300 && f.Status < 400:
		return "the endpoint redirects, which is not followed: set the endpoint's final address"
	case f.Outcome == Misconfigured && f.Status >= 400:
		return "check the endpoint's address"
	case f.Outcome == Unrelated:
		return "a proxy or firewall may have answered in the server's place, or the server does not accept the client"
	}
	return ""
}

// noAnswer is the failure of a request that brought no answer.
func noAnswer(written, slow bool, err error) *Failure {
	f := &Failure{Outcome: NotProcessed, Err: err}
	switch {
	case written && slow:
		f.Outcome = Unanswered
	case written:
		f.Outcome = MaybeProcessed
	}
	return f
}

// isTimeout reports whether a request ended for want of time rather than by the connection.
func isTimeout(ctx context.Context, err error) bool {
	var t interface{ Timeout() bool }
	return ctx.Err() != nil || errors.As(err, &t) && t.Timeout()
}

// garbled is the failure of an answer that looked like success and is none.
func (r *reply) garbled(err error) *Failure {
	f := &Failure{Outcome: MaybeProcessed, Status: r.status, RetryAfter: retryAfter(r.header), Date: date(r.header)}
	if r.slow {
		f.Outcome = Unanswered
	}
	f.Err = fmt.Errorf("the answer cannot be used: %w", err)
	return f
}

// failure reads an answer that refuses.
func (r *reply) failure() *Failure {
	code := r.text("error")
	f := &Failure{
		Outcome:     r.outcome(code),
		Method:      r.method,
		Status:      r.status,
		Code:        code,
		Description: r.hide.words(r.text("error_description")),
		URI:         r.hide.words(r.text("error_uri")),
		RetryAfter:  retryAfter(r.header),
		Date:        date(r.header),
	}
	if !slices.Contains(registered, code) {
		f.Code = r.hide.words(code)
	}
	if r.cut {
		f.Err = r.err
	}
	return f
}

// misconfigured are the codes that refuse the client or the request as such (RFC 6749 §5.2, RFC 8707 §2, RFC 9396 §5, RFC 9449 §5, §8; Microsoft
// says invalid_resource for invalid_target).
var misconfigured = []string{
	"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target", "invalid_resource",
	"use_dpop_nonce", "invalid_dpop_proof", "invalid_authorization_details",
}

// polling are the codes that a person's decision is awaited with (RFC 8628 §3.5). They come under
// statuses of the servers' own choice.
var polling = []string{"authorization_pending", "slow_down", "expired_token"}

// registered are the codes that callers decide by. They are no secrets, so they stay whole even where
// a secret is a part of one of them.
var registered = slices.Concat(misconfigured, polling, []string{
	"invalid_grant", "invalid_request", "access_denied", "unsupported_token_type", "temporarily_unavailable", "server_error",
})

// outcome classifies an answer that brought nothing, by its status and its error code.
func (r *reply) outcome(code string) Outcome {
	status := r.status
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable, code == "temporarily_unavailable":
		return NotProcessed
	case status >= 300 && status < 400:
		return Misconfigured
	case r.slow:
		return Unanswered
	case r.cut, status >= 500, code == "server_error":
		return MaybeProcessed
	case code == "invalid_grant":
		return InvalidGrant
	case slices.Contains(misconfigured, code):
		return Misconfigured
	case status < 300 && !r.refuses():
		return MaybeProcessed
	case status < 300, slices.Contains(polling, code):
		return Doubtful
	case status == http.StatusBadRequest && r.empty:
		return Doubtful
	case (status == http.StatusBadRequest || status == http.StatusUnauthorized) && r.refuses():
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
		// Bounded before it is multiplied, which could overflow.
		return time.Duration(min(max(seconds, 0), int(most/time.Second))) * time.Second
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

// date is the answer's Date header; zero if there is none.
func date(h http.Header) time.Time {
	at, _ := http.ParseTime(h.Get("Date"))
	return at
}

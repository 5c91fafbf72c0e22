package authserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/secret"
)

// maxLifetime bounds what a server says: some write milliseconds, or a date.
const maxLifetime = 10 * 365 * 24 * time.Hour

// Answer is a successful answer of the token endpoint (RFC 6749 §5.1). It shows nothing of itself,
// because Extra may hold further tokens. One that comes with an error has no AccessToken, because that cannot be used,
// and a RefreshToken, which takes the place of the one that was sent.
type Answer struct {
	AccessToken, RefreshToken, IDToken secret.String

	TokenType   string                     // "Bearer"; "N_A": the token is of another kind; "DPoP" for a Client with a DPoP, if the server has bound it
	Lifetime    time.Duration              // expires_in; 0: not said, or 0, by which some servers mean "never"
	RefreshIn   time.Duration              // refresh_in; 0: not said
	Scopes      []string                   // scope
	ScopesGiven bool                       // false: scope was omitted, the scopes are those asked for
	Extra       map[string]json.RawMessage // every other member as sent; nil: none
	Date        time.Time                  // the Date header; zero: none
}

// Format implements fmt.Formatter for every verb.
func (a Answer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[token answer]") }

// LogValue implements slog.LogValuer.
func (a Answer) LogValue() slog.Value { return slog.StringValue("[token answer]") }

// MarshalText implements encoding.TextMarshaler, for JSON.
func (a Answer) MarshalText() ([]byte, error) { return []byte("[token answer]"), nil }

// tokens reads a token answer. The error is a *Failure.
func (r *reply) tokens() (*Answer, error) {
	if !r.succeeded() || r.refuses() {
		return nil, r.failure()
	}
	if r.err != nil {
		return nil, r.garbled(r.err)
	}
	a := &Answer{
		AccessToken:  secret.New(r.text("access_token")),
		RefreshToken: secret.New(r.text("refresh_token")),
		IDToken:      secret.New(r.text("id_token")),
		TokenType:    "Bearer",
		Lifetime:     seconds(r.members["expires_in"]),
		RefreshIn:    seconds(r.members["refresh_in"]),
		Date:         date(r.header),
	}
	err := r.readType(a)
	if err != nil && a.RefreshToken.IsEmpty() {
		return nil, err
	}
	if err != nil {
		a.AccessToken = secret.String{}
	}
	a.Scopes, a.ScopesGiven = scopes(r.members["scope"])
	a.Extra = r.others("access_token", "refresh_token", "id_token", "token_type", "expires_in", "refresh_in", "scope")
	return a, err
}

// readType reads token_type into a. The error, a *Failure, says why the access token cannot be used.
func (r *reply) readType(a *Answer) error {
	kind := r.text("token_type")
	if r.bound && strings.EqualFold(kind, "DPoP") {
		a.TokenType = "DPoP" // as is the refresh token, even where there is no access token
	}
	switch {
	case a.AccessToken.IsEmpty():
		return r.garbled(errors.New("it has no access_token"))
	case !isVisible(a.AccessToken.Reveal()):
		return r.garbled(errors.New("its access_token has characters that none can have (RFC 6749 appendix A.12), and cannot be sent"))
	case a.TokenType == "DPoP":
	case strings.EqualFold(kind, "N_A") && r.text("issued_token_type") != "":
		a.TokenType = "N_A" // what a token exchange has brought is no access token (RFC 8693 §2.2.1)
	case kind != "" && !strings.EqualFold(kind, "Bearer"):
		// Where a server has mixed up its members, the type is a token that it gives out right now.
		fresh := newScrubber(nil, a.AccessToken.Reveal(), a.RefreshToken.Reveal(), a.IDToken.Reveal())
		f := r.garbled(fmt.Errorf("its token_type %q is none that this client speaks; have the server issue Bearer tokens, or set DPoP for tokens of that type", fresh.words(r.hide.words(kind))))
		f.Outcome = Misconfigured
		return f
	}
	return nil
}

// isVisible reports whether text stands in a header as it is.
func isVisible(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) && strings.TrimSpace(text) == text
}

// others are the members beside those named; nil if there are none.
func (r *reply) others(named ...string) map[string]json.RawMessage {
	for _, name := range named {
		delete(r.members, name)
	}
	if len(r.members) == 0 {
		return nil
	}
	return r.members
}

// seconds reads a number of seconds, written as a number or as a string. What is not positive is not
// said: several servers write 0 for "never".
func seconds(raw json.RawMessage) time.Duration {
	var n float64
	if json.Unmarshal(raw, &n) != nil {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return 0
		}
		var err error
		if n, err = strconv.ParseFloat(strings.TrimSpace(s), 64); err != nil {
			return 0
		}
	}
	if math.IsNaN(n) || n <= 0 {
		return 0
	}
	return time.Duration(min(n, maxLifetime.Seconds()) * float64(time.Second))
}

// scopes reads a scope member: words with spaces between them (RFC 6749 §3.3), or an array.
func scopes(raw json.RawMessage) (_ []string, given bool) {
	if string(raw) == "null" {
		return nil, false
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return strings.Fields(s), true
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return strings.Fields(strings.Join(list, " ")), true
	}
	return nil, false
}

// instant reads a NumericDate (RFC 7519 §2); zero for anything else.
func instant(raw json.RawMessage) time.Time {
	var seconds float64
	if len(raw) == 0 || json.Unmarshal(raw, &seconds) != nil || math.Abs(seconds) > 1e12 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC()
}

package authserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/secret"
)

// maxLifetime bounds what a server says: some write milliseconds, or a date.
const maxLifetime = 10 * 365 * 24 * time.Hour

// Answer is a successful answer of the token endpoint (RFC 6749 §5.1).
type Answer struct {
	AccessToken, RefreshToken, IDToken secret.String

	TokenType   string        // "Bearer"
	Lifetime    time.Duration // expires_in; 0: the server did not say, or not in a number
	RefreshIn   time.Duration // refresh_in; 0: the server did not say
	Scopes      []string
	ScopesGiven bool                       // false: scope was omitted, the scopes are those asked for
	Extra       map[string]json.RawMessage // every other member
	Date        time.Time                  // the Date header; zero: none
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
	hide   scrubber
}

// tokens reads a token answer.
func (r *reply) tokens() (*Answer, error) {
	members, err := r.members()
	if r.status != http.StatusOK && r.status != http.StatusCreated || err == nil && text(members, "error") != "" {
		return nil, r.failure()
	}
	if err != nil {
		return nil, r.garbled(err)
	}
	a := &Answer{
		AccessToken:  secret.New(text(members, "access_token")),
		RefreshToken: secret.New(text(members, "refresh_token")),
		IDToken:      secret.New(text(members, "id_token")),
		TokenType:    "Bearer",
		Lifetime:     seconds(members["expires_in"]),
		RefreshIn:    seconds(members["refresh_in"]),
		Date:         date(r.header),
	}
	if a.AccessToken.IsEmpty() {
		return nil, r.garbled(errors.New("it has no access_token"))
	}
	if kind := text(members, "token_type"); kind != "" && !strings.EqualFold(kind, "Bearer") {
		f := r.garbled(fmt.Errorf("its token_type %q is not one this client can use", r.hide.words(kind)))
		f.Outcome = Misconfigured
		return nil, f
	}
	a.Scopes, a.ScopesGiven = scopes(members["scope"])
	for _, known := range []string{"access_token", "refresh_token", "id_token", "token_type", "expires_in", "refresh_in", "scope"} {
		delete(members, known)
	}
	if len(members) > 0 {
		a.Extra = members
	}
	return a, nil
}

// garbled is the failure of an answer that looked like success and is none.
func (r *reply) garbled(err error) *Failure {
	return &Failure{Outcome: MaybeProcessed, Status: r.status, Date: date(r.header), Err: fmt.Errorf("the answer cannot be used: %w", err)}
}

// cutShort is the failure of an answer whose body could not be read to its end.
func (r *reply) cutShort(ctx context.Context, err error) *Failure {
	f := r.failure()
	f.Err = r.hide.error(err)
	if f.Outcome == InvalidGrant || f.Outcome == Doubtful || f.Outcome == Unrelated || f.Outcome == Misconfigured || r.status < 300 {
		f.Outcome = MaybeProcessed
	}
	if ctx.Err() != nil {
		f.Outcome = Unanswered
	}
	return f
}

// failure reads an answer that refuses.
func (r *reply) failure() *Failure {
	members, err := r.members()
	f := &Failure{Status: r.status, RetryAfter: retryAfter(r.header), Date: date(r.header)}
	if err == nil {
		f.Code = r.hide.words(text(members, "error"))
		f.Description = r.hide.words(text(members, "error_description"))
		f.URI = r.hide.words(text(members, "error_uri"))
	}
	f.Outcome = outcome(r.status, f.Code, err == nil, len(bytes.TrimSpace(r.body)) == 0)
	return f
}

// members reads the body: a JSON object, or a form as some servers send it. Its errors quote nothing.
func (r *reply) members() (map[string]json.RawMessage, error) {
	if len(r.body) > maxAnswer {
		return nil, fmt.Errorf("it is longer than %d bytes", maxAnswer)
	}
	body := bytes.TrimSpace(r.body)
	if len(body) == 0 {
		return nil, errors.New("it is empty")
	}
	if body[0] == '{' {
		return object(body)
	}
	if body[0] == '<' || strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
		return nil, errors.New("it is a page")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !form.Has("access_token") && !form.Has("error") {
		return nil, errors.New("it is neither JSON nor a form")
	}
	members := make(map[string]json.RawMessage, len(form))
	for name, values := range form {
		if len(values) > 1 {
			return nil, errors.New("it has a member twice")
		}
		members[name], _ = json.Marshal(values[0])
	}
	return members, nil
}

// object reads a JSON object whose members must not repeat (RFC 6749 §3.2).
func object(data []byte) (map[string]json.RawMessage, error) {
	malformed := errors.New("it is not a JSON object")
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, malformed
	}
	members := make(map[string]json.RawMessage)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformed
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, malformed
		}
		if _, twice := members[name.(string)]; twice {
			return nil, errors.New("it has a member twice")
		}
		members[name.(string)] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed
	}
	return members, nil
}

// text is a member that is a string; "" for any other.
func text(members map[string]json.RawMessage, name string) string {
	var s string
	if json.Unmarshal(members[name], &s) != nil {
		return ""
	}
	return s
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
	var s string
	if json.Unmarshal(raw, &s) == nil && string(raw) != "null" {
		return strings.Fields(s), true
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil && list != nil {
		return list, true
	}
	return nil, false
}

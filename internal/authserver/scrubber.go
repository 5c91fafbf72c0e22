package authserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/internal/words"
)

// scrubber cuts out of foreign words what was sent. The zero scrubber has sent nothing.
type scrubber struct{ replacer *strings.Replacer }

// harmless are the parameters that may be repeated in an error.
var harmless = []string{
	"grant_type", "client_id", "redirect_uri", "scope", "token_type_hint", "resource", "audience",
	"client_assertion_type", "subject_token_type", "actor_token_type", "requested_token_type",
	"response_type", "response_mode", "code_challenge_method", "prompt", "max_age", "acr_values", "display", "ui_locales",
	"access_type", "token_access_type", "include_granted_scopes", "duration", "owner", "expiring", "expires_in", // of single servers
}

// newScrubber makes a scrubber for the values in form and for secrets, as they are and as they may
// have been encoded.
func newScrubber(form url.Values, secrets ...string) scrubber {
	for name, values := range form {
		if !slices.Contains(harmless, name) {
			secrets = append(secrets, values...)
		}
	}
	var shapes []string
	for _, s := range secrets {
		if s == "" {
			continue
		}
		shapes = append(shapes, s, escaped(s), strings.TrimRight(s, "="), url.QueryEscape(s), url.PathEscape(s),
			base64.RawStdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)))
	}
	// A replacer takes the first that fits: the longest, or the rest of it would stay.
	slices.SortFunc(shapes, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(shapes))
	for _, shape := range shapes {
		if shape != "" {
			pairs = append(pairs, shape, "[redacted]")
		}
	}
	return scrubber{strings.NewReplacer(pairs...)}
}

// escaped is s as it stands in JSON.
func escaped(s string) string {
	text, _ := json.Marshal(s) // a string always can
	return string(text[1 : len(text)-1])
}

// words makes foreign text fit for an error: without secrets, printable (RFC 6749 §5.2), short.
func (s scrubber) words(text string) string {
	if s.replacer != nil {
		text = s.replacer.Replace(text)
	}
	return words.Printable(text)
}

// error makes a network error fit to be shown. A *url.Error's own text would name the address with
// its query, so that only what it wraps is kept.
func (s scrubber) error(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &shownError{s.words(err.Error()), &err}
}

// shownError is an error with its text made fit to be shown. The cause lies behind a pointer, which
// is all that fmt shows of it.
type shownError struct {
	text string
	err  *error
}

// Error implements error.
func (e *shownError) Error() string { return e.text }

// Is and As look into the cause. There is no Unwrap: the cause's own text may show what was sent.

// Is implements the interface that errors.Is looks for.
func (e *shownError) Is(target error) bool { return errors.Is(*e.err, target) }

// As implements the interface that errors.As looks for.
func (e *shownError) As(target any) bool { return errors.As(*e.err, target) }

// Scrubbed is base, which sends requests whose Authorization and DPoP headers are secrets. A server can put them into a malformed
// answer, which net/http quotes; its errors, and those of the answers' bodies, are made fit to be shown.
func Scrubbed(base http.RoundTripper) http.RoundTripper { return scrubbed{base} }

type scrubbed struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s scrubbed) RoundTrip(req *http.Request) (*http.Response, error) {
	_, credential, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	hide := newScrubber(nil, credential, req.Header.Get("DPoP"))
	resp, err := s.base.RoundTrip(req)
	if err != nil {
		return nil, hide.error(err)
	}
	resp.Body = &scrubbedBody{resp.Body, hide}
	return resp, nil
}

type scrubbedBody struct {
	io.ReadCloser
	hide scrubber
}

// Read implements io.Reader.
func (b *scrubbedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.hide.error(err) // of a trailer, say
	}
	return n, err
}

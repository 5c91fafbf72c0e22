package transport

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/internal/origin"
)

// maxHops bounds the chain of redirects that is followed back. http.Client gives up after ten; a
// longer one, or one that leads round in a circle, is taken for one that has left the origin.
const maxHops = 100

// settings is what the fields of a Transport say. It is immutable.
type settings struct {
	origins []origin.Origin
	form    form
	invalid error
}

// usual are the settings of most Transports, which share it: programs hold one for each of many sessions.
var usual = &settings{form: form{name: authorization, before: schemeBearer + " "}}

// read gives what the fields say.
func (t *Transport) read() *settings {
	if s := t.settings.Load(); s != nil {
		return s
	}
	s := usual
	if t.Source == nil || t.Origins != nil || t.Header != "" {
		s = new(settings)
		if s.origins, s.invalid = readConfig(t.Source, t.Origins); s.invalid == nil {
			s.form, s.invalid = readForm(t.Header)
		}
	}
	t.settings.Store(s)
	return s
}

// form is how a token goes into the header of a request.
type form struct{ name, before, after string }

// bound is the form of tokens that are bound to a key (RFC 9449 §7.1).
var bound = &form{name: authorization, before: schemeDPoP + " "}

// scheme is the authentication scheme that a server may name which takes tokens in this form (RFC 9110 §11.4).
func (f form) scheme() string {
	scheme, _, _ := strings.Cut(f.before, " ")
	return scheme
}

func readForm(text string) (form, error) {
	if text == "" {
		return usual.form, nil
	}
	name, value, _ := strings.Cut(text, ":")
	before, after, ok := strings.Cut(strings.TrimSpace(value), "{token}")
	if !ok || !isFieldName(name) || strings.ContainsFunc(before+after, func(r rune) bool { return r < ' ' || r > '~' }) {
		return form{}, fmt.Errorf("%w: Transport.Header is not a header field with a token in it: write it as \"X-Access-Token: {token}\"", ErrConfig)
	}
	return form{http.CanonicalHeaderKey(name), before, after}, nil
}

// isFieldName holds a name against RFC 9110 §5.1.
func isFieldName(name string) bool {
	p := parser{rest: name}
	return p.word() != "" && p.rest == ""
}

func readConfig(s Source, listed []string) ([]origin.Origin, error) {
	if s == nil {
		return nil, fmt.Errorf("%w: Transport.Source is nil: set what gives the tokens, such as a session", ErrConfig)
	}
	origins := make([]origin.Origin, len(listed))
	for i, text := range listed {
		var ok bool
		if origins[i], ok = origin.Parse(text); !ok {
			// The text is not shown: it may hold a password.
			return nil, fmt.Errorf("%w: Transport.Origins[%d] is not an origin: write it as https://api.example.com", ErrConfig, i)
		}
	}
	return origins, nil
}

// allows reports whether the token may go where req goes (I7).
func (t *Transport) allows(req *http.Request) bool {
	to, ok := origin.Of(req.URL)
	if !ok || !isWithin(req, to) {
		return false
	}
	if t.Origins == nil {
		return to.IsPrivate()
	}
	return slices.Contains(t.read().origins, to)
}

// isWithin reports whether the whole chain of redirects that led to req, if any did, went to o.
func isWithin(req *http.Request, o origin.Origin) bool {
	for range maxHops {
		if req.Response == nil {
			return true
		}
		if req = req.Response.Request; req == nil {
			return false
		}
		if from, ok := origin.Of(req.URL); !ok || from != o {
			return false
		}
	}
	return false
}

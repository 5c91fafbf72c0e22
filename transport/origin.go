package transport

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/evergrant/evergrant/internal/origin"
)

// maxHops bounds the chain of redirects that is followed back. http.Client gives up after ten; a
// longer one, or one that leads round in a circle, is taken for one that has left the origin.
const maxHops = 100

// configure reads the fields, once.
func (t *Transport) configure() error {
	t.configured.Do(func() { t.origins, t.invalid = readConfig(t.Source, t.Origins) })
	return t.invalid
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
	return slices.Contains(t.origins, to)
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

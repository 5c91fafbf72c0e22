package loopback

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// serve answers one request. There is no ServeMux here: it cleans paths, and the redirect URL's is
// compared exactly.
func (l *Listener) serve(w http.ResponseWriter, r *http.Request) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	switch path := r.URL.EscapedPath(); {
	case !strings.EqualFold(strings.TrimSuffix(r.Host, ":80"), l.host):
		misdirected.write(w)
	case path == l.path:
		l.serveCallback(w, r)
	case path == l.outcomePath() && l.hasAccepted():
		l.serveOutcome(w, r)
	default:
		notFound.write(w)
	}
}

// outcomePath is where the browser is led. It holds nothing that must be kept.
func (l *Listener) outcomePath() string { return strings.TrimSuffix(l.path, "/") + "/done" }

// serveCallback takes the authorization response (RFC 6749 §4.1.2): the first that is ours. The same
// one again, a reload, is led to the outcome too.
func (l *Listener) serveCallback(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		badMethod.write(w)
		return
	}
	values, err := parameters(w, r)
	if err != nil || !l.ours(values) {
		notOurs.write(w)
		return
	}
	if l.accept() {
		l.response <- values
	}
	setHeader(w.Header())
	w.Header().Set("Location", l.outcomePath())
	w.WriteHeader(http.StatusSeeOther)
}

// serveOutcome keeps the browser waiting until the outcome is known, and shows it.
func (l *Listener) serveOutcome(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		badMethod.write(w)
		return
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{}) // else it ends r.Context
	select {
	case <-l.decided:
	case <-r.Context().Done(): // the browser has gone away
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	l.outcome.write(w)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.wasShown {
		l.wasShown = true
		close(l.shown)
	}
}

// accept reports whether this is the first response, and remembers that there is one.
func (l *Listener) accept() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.accepted
	l.accepted = true
	return first
}

func (l *Listener) hasAccepted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted
}

// once are the parameters that must not come twice (RFC 6749 §3.1): which one counts would be anybody's
// guess. Unknown ones are ignored (§4.1.2).
var once = []string{"state", "code", "error", "iss"}

// parameters reads an authorization response: the query of a GET, or the form of a POST, by which
// response_mode=form_post sends it. Never both: who has sent the form did not choose the query.
func parameters(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		err = r.ParseForm()
		values = r.PostForm
	}
	if err != nil {
		return nil, err
	}
	twice := func(name string) bool { return len(values[name]) > 1 }
	if slices.ContainsFunc(once, twice) {
		return nil, errors.New("a parameter comes twice")
	}
	return values, nil
}

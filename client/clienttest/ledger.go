package clienttest

import (
	"net/http"
	"net/url"
	"time"
)

// processHeader says which process a request comes from.
const processHeader = "Clienttest-Process"

// Request is one request to the token or the revocation endpoint, as the Server saw it. It holds no token:
// tokens are named by kind and number of issue.
type Request struct {
	// Time of arrival.
	Time time.Time

	// Process says who sent it: the name given to HTTPClient, or any Clienttest-Process header.
	Process string

	// GrantType is the grant_type; empty for a revocation.
	GrantType string

	// ClientID is the client that authenticated; empty if none did.
	ClientID string

	// Token names what was presented, RT1 for the first refresh token that was issued, AT1 for the first
	// access token; "unknown" for a refresh token or one to revoke that the Server never issued.
	Token string

	// Issued names the refresh token in the answer; empty: none. With LeewaySame or without rotation it may
	// be one that was issued earlier.
	Issued string

	// Processed is when the server acted upon it, which is later than Time for a slow or late one; zero: not
	// yet, or it was lost before.
	Processed time.Time

	// Spent says that the presented refresh token had been spent before. Reuse says that, besides, no leeway
	// forgave it.
	Spent, Reuse bool

	// Error is the error code that the server came to, for instance invalid_grant; empty: success. A fault
	// may have kept it from the client.
	Error string

	// Status is what was sent back; 0: nothing.
	Status int

	path string
}

// Requests returns the token requests so far, in the order of their arrival.
func (s *Server) Requests() []Request {
	return s.chosen(func(r *Request) bool { return r.path == "/token" })
}

// Renewals returns the refreshes so far that gave a token, whether or not the answer arrived.
func (s *Server) Renewals() []Request {
	return s.chosen(func(r *Request) bool {
		return r.GrantType == "refresh_token" && !r.Processed.IsZero() && r.Error == ""
	})
}

// Reuses returns the presentations so far of a spent refresh token that no leeway forgave. A client that
// keeps its grants causes none.
func (s *Server) Reuses() []Request {
	return s.chosen(func(r *Request) bool { return r.Reuse })
}

// Revocations returns the revocation requests so far.
func (s *Server) Revocations() []Request {
	return s.chosen(func(r *Request) bool { return r.path == "/revoke" })
}

func (s *Server) chosen(want func(*Request) bool) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var selected []Request
	for _, r := range s.ledger {
		if want(r) {
			selected = append(selected, *r)
		}
	}
	return selected
}

// record enters a request to the token or the revocation endpoint into the ledger. Other requests get an
// entry that is in no ledger.
func (s *Server) record(path string, r *http.Request, body []byte) *Request {
	entry := &Request{Time: time.Now(), Process: r.Header.Get(processHeader), path: path}
	if path != "/token" && path != "/revoke" {
		return entry
	}
	if form, err := url.ParseQuery(string(body)); err == nil && path == "/token" {
		entry.GrantType = form.Get("grant_type")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = append(s.ledger, entry)
	return entry
}

// recorder notes the status that goes out.
type recorder struct {
	http.ResponseWriter
	s     *Server
	entry *Request
}

func (r *recorder) WriteHeader(status int) {
	r.s.mu.Lock()
	r.entry.Status = status
	r.s.mu.Unlock()
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

package main

import (
	"crypto/rand"
	"net/http"
	"sync"

	"github.com/evergrant/evergrant/client"
)

const cookieName = "websession"

// webSession is one browser. An application has its own, in a store that its replicas share: a Pending
// marshals to text for that. The text is secret.
type webSession struct {
	account string          // the user's, public; here each browser is a user of its own
	pending *client.Pending // the login under way; guarded by webSessions.mu
}

// webSessions are kept by what the browser's cookie holds.
type webSessions struct {
	secure bool // the cookie goes over TLS only

	mu       sync.Mutex
	byCookie map[string]*webSession // guarded by mu
}

// find returns the browser's web session, or nil.
func (s *webSessions) find(r *http.Request) *webSession {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byCookie[cookie.Value]
}

// begin returns the browser's web session, a new one if it has none.
func (s *webSessions) begin(w http.ResponseWriter, r *http.Request) *webSession {
	if user := s.find(r); user != nil {
		return user
	}
	user := &webSession{account: rand.Text()}
	s.keep(w, user)
	return user
}

// renew gives the browser another cookie, once its user has logged in: nobody can have planted that one.
func (s *webSessions) renew(w http.ResponseWriter, r *http.Request, user *webSession) {
	s.end(w, r)
	s.keep(w, user)
}

// keep sets a cookie for user. Lax: the browser brings it along when the authorization server sends it
// back, and with no form of another site.
func (s *webSessions) keep(w http.ResponseWriter, user *webSession) {
	value := rand.Text()
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode,
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byCookie[value] = user
}

// end forgets the browser.
func (s *webSessions) end(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byCookie, cookie.Value)
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1})
}

// setPending notes the login that a browser begins. It replaces one begun before.
func (s *webSessions) setPending(user *webSession, p *client.Pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user.pending = p
}

// takePending returns the login that the browser has begun, once; nil when there is none.
func (s *webSessions) takePending(user *webSession) *client.Pending {
	if user == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := user.pending
	user.pending = nil
	return p
}

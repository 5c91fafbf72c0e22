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
	user    person          // who is signed in; nobody: the zero person. Guarded by webSessions.mu
	account string          // the one that the login under way is for; guarded by webSessions.mu
	pending *client.Pending // guarded by webSessions.mu
}

// person is how a provider names one: sub alone is another's elsewhere (OpenID Connect Core §5.7).
type person struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// webSessions are kept by what the browser's cookie holds.
type webSessions struct {
	secure bool // the cookie goes over TLS only

	mu       sync.Mutex
	byCookie map[string]*webSession // guarded by mu
	accounts map[person]string      // the table of people: the session key of each; guarded by mu
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
	user := new(webSession)
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

// account returns the account of who is signed in; "" when nobody is.
func (s *webSessions) account(user *webSession) string {
	if user == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[user.user]
}

// signIn notes who has logged in, and with which account. Another one of the same person is used no more, from any browser;
// it is not logged out: there are servers that would end the new grant along with the old one.
func (s *webSessions) signIn(user *webSession, who person, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user.user, s.accounts[who] = who, account
}

// forget removes the account of who is signed in, unless another one has taken its place: the person is signed out everywhere.
func (s *webSessions) forget(user *webSession, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[user.user] == account {
		delete(s.accounts, user.user)
	}
}

// setPending notes the login that a browser begins for account. It replaces one begun before.
func (s *webSessions) setPending(user *webSession, p *client.Pending, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user.pending, user.account = p, account
}

// takePending returns the login that the browser has begun, and for which account, once; nil when there is none.
func (s *webSessions) takePending(user *webSession) (*client.Pending, string) {
	if user == nil {
		return nil, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := user.pending
	user.pending = nil
	return p, user.account
}

package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"

	"github.com/evergrant/evergrant/client"
)

// app is the web application.
type app struct {
	oauth *client.Client
	url   string // what it calls for its users
	web   *webSessions
}

// newApp returns the application's handler. Its forms cannot be sent from other sites.
func newApp(c *client.Client, url string, tls bool) http.Handler {
	a := &app{oauth: c, url: url, web: &webSessions{secure: tls, byCookie: make(map[string]*webSession), accounts: make(map[person]string)}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("GET /callback", a.callback)
	mux.HandleFunc("POST /logout", a.logout)
	return http.NewCrossOriginProtection().Handler(mux)
}

var homePage = template.Must(template.New("home").Parse(`<!DOCTYPE html>
<title>Example</title>
{{if .LoggedIn}}
<p>The API says: <code>{{.Answer}}</code></p>
<form method="post" action="/logout"><button>Log out</button></form>
{{else}}
<form method="post" action="/login"><button>Log in</button></form>
{{end}}
`))

// home calls the API for the user. That needs no thought of tokens.
func (a *app) home(w http.ResponseWriter, r *http.Request) {
	page := struct {
		LoggedIn bool
		Answer   string
	}{}
	if account := a.web.account(a.web.find(r)); account != "" {
		answer, err := a.call(r, a.oauth.Session(account))
		switch {
		case errors.Is(err, client.ErrLoginRequired): // the grant was taken back
		case err != nil:
			a.fail(w, http.StatusBadGateway, "The API cannot be reached now.", err)
			return
		default:
			page.LoggedIn, page.Answer = true, answer
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	homePage.Execute(w, page)
}

// call uses the request's context: who closes the page ends the call, and no renewal.
func (a *app) call(r *http.Request, session *client.Session) (string, error) {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, a.url, nil)
	if err != nil {
		return "", err
	}
	resp, err := session.HTTPClient().Do(request)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", a.url, resp.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	return string(answer), err
}

// login sends the browser to the authorization server, and keeps what binds the answer to this browser. Who it is that logs
// in is known afterwards: the account has a random key.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	user := a.web.begin(w, r)
	account := cmp.Or(a.web.account(user), rand.Text())
	pending, err := a.oauth.Session(account).Start(r.Context(), client.AuthCode{})
	if err != nil {
		a.fail(w, http.StatusBadGateway, "A login is not possible now.", err)
		return
	}
	a.web.setPending(user, pending, account)
	http.Redirect(w, r, pending.URL, http.StatusSeeOther)
}

// callback is where the browser comes back to: Config.RedirectURL.
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	user := a.web.find(r)
	pending, account := a.web.takePending(user)
	if pending == nil {
		http.Error(w, "This browser has begun no login.", http.StatusBadRequest)
		return
	}
	session := a.oauth.Session(account)
	var who person
	err := session.Finish(r.Context(), pending, r.URL.Query())
	if err == nil {
		err = session.Claims(r.Context(), &who)
	}
	if errors.Is(err, client.ErrOtherSubject) {
		a.web.end(w, r) // another person uses this browser now: the next login is for an account of their own
	}
	if err != nil {
		a.fail(w, http.StatusBadRequest, "The login has failed. Please try again.", err)
		return
	}
	a.web.signIn(user, who, account)
	a.web.renew(w, r, user)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// logout ends the grant, and then the web session.
func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	user := a.web.find(r)
	if account := a.web.account(user); account != "" {
		err := a.oauth.Session(account).Logout(r.Context())
		if err != nil && !errors.Is(err, client.ErrNotRevoked) {
			a.fail(w, http.StatusBadGateway, "You are still logged in. Please try again.", err)
			return
		}
		if err != nil {
			log.Println(err) // logged out all the same
		}
		a.web.forget(user, account)
	}
	if user != nil {
		a.web.end(w, r)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// fail tells the user little and the log more. Evergrant's errors hold no secrets.
func (a *app) fail(w http.ResponseWriter, status int, text string, err error) {
	log.Println(err)
	http.Error(w, text, status)
}

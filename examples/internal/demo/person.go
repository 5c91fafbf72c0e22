package demo

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The one person whom the provider knows. The login page has both filled in.
const username, password = "alice", "wonderland"

// people is the provider's user store.
type people struct{}

// GetUserByID implements storage.UserStore.
func (people) GetUserByID(id string) *storage.User {
	switch id {
	case username:
		return &storage.User{ID: username, Username: username, Password: password, FirstName: "Alice"}
	case DaemonID:
		return &storage.User{ID: DaemonID, Username: DaemonID}
	}
	return nil
}

// GetUserByUsername implements storage.UserStore. Only people log in.
func (p people) GetUserByUsername(name string) *storage.User {
	if name != username {
		return nil
	}
	return p.GetUserByID(name)
}

// ExampleClientID implements storage.UserStore.
func (people) ExampleClientID() string { return DaemonID }

var loginPage = template.Must(template.New("login").Parse(`<!DOCTYPE html>
<title>Log in</title>
<h1>Log in</h1>
<form method="post">
<p>{{.Question}}</p>
<p><label>Name <input name="username" value="{{.Username}}"></label></p>
<p><label>Password <input name="password" type="password" value="{{.Password}}"></label></p>
<p><button>Allow</button></p>
</form>
`))

// withLogin adds to a provider the pages on which a person says who she is and what she allows.
func withLogin(provider *op.Provider, issuer string, s *storage.Storage) http.Handler {
	mux := http.NewServeMux()
	ask := func(question string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			loginPage.Execute(w, map[string]string{"Question": question, "Username": username, "Password": password})
		}
	}
	mux.Handle("GET /login/username", ask("A program wants to act for you."))
	mux.HandleFunc("POST /login/username", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("authRequestID")
		if err := s.CheckUsernamePassword(r.PostFormValue("username"), r.PostFormValue("password"), id); err != nil {
			http.Error(w, "wrong name or password", http.StatusForbidden)
			return
		}
		ctx := op.ContextWithIssuer(r.Context(), issuer)
		http.Redirect(w, r, op.AuthCallbackURL(provider)(ctx, id), http.StatusFound)
	})
	mux.Handle("GET /device", ask("A device wants to act for you."))
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		if err := s.CheckUsernamePasswordSimple(r.PostFormValue("username"), r.PostFormValue("password")); err != nil {
			http.Error(w, "wrong name or password", http.StatusForbidden)
			return
		}
		if err := s.CompleteDeviceAuthorization(r.Context(), r.FormValue("user_code"), username); err != nil {
			http.Error(w, "unknown code", http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, "Done. Go back to your device.")
	})
	mux.Handle("/", provider)
	return mux
}

// SignIn does what a person does in a browser: it opens address, fills the provider's login form, sends it
// and follows where that leads. browser keeps its cookies in its jar. It fails unless a page with
// status 200 is at the end.
func SignIn(ctx context.Context, browser *http.Client, address string) error {
	form, err := visit(ctx, browser, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("open the login page: %w", err)
	}
	_, err = visit(ctx, browser, http.MethodPost, form, url.Values{"username": {username}, "password": {password}})
	if err != nil {
		return fmt.Errorf("send the login form: %w", err)
	}
	return nil
}

// visit asks for a page and returns its address once redirects are followed. Errors hold no address: its
// query carries the secrets of a login.
func visit(ctx context.Context, browser *http.Client, method, address string, form url.Values) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", errors.New("not an address")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := browser.Do(r)
	if err != nil {
		return "", errors.Unwrap(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s", resp.Request.URL.Path, resp.Status)
	}
	return resp.Request.URL.String(), nil
}

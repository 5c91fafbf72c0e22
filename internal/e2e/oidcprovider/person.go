package oidcprovider

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"
)

// Person is somebody with an account and a browser of their own, which keeps cookies and runs no script.
type Person struct {
	p       *Provider
	account string
	browser *http.Client
}

// Person is a new person; the account needs no registration.
func (p *Provider) Person(account string) *Person {
	jar, err := cookiejar.New(nil)
	require.NoError(p.t, err)
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !p.mine(r.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return &Person{p: p, account: account, browser: browser}
}

// SignIn opens an authorization URL, signs in, consents, and returns the callback address that the provider sends the
// browser to, unvisited.
func (w *Person) SignIn(authorizationURL string) *url.URL {
	w.p.t.Helper()
	callback, err := w.walk(authorizationURL, url.Values{"login": {w.account}, "allow": {"1"}})
	require.NoError(w.p.t, err)
	require.NotNil(w.p.t, callback, "the provider sent the browser nowhere")
	return callback
}

// Refuse signs in but does not consent, and returns the callback address.
func (w *Person) Refuse(authorizationURL string) *url.URL {
	w.p.t.Helper()
	callback, err := w.walk(authorizationURL, url.Values{"login": {w.account}, "deny": {"1"}})
	require.NoError(w.p.t, err)
	require.NotNil(w.p.t, callback, "the provider sent the browser nowhere")
	return callback
}

// Approve opens a verification_uri_complete (RFC 8628, section 3.3.1), signs in and consents.
func (w *Person) Approve(verificationURL string) {
	w.p.t.Helper()
	_, err := w.walk(verificationURL, url.Values{"login": {w.account}, "allow": {"1"}})
	require.NoError(w.p.t, err)
}

// Deny opens a verification_uri_complete and turns the device away.
func (w *Person) Deny(verificationURL string) {
	w.p.t.Helper()
	_, err := w.walk(verificationURL, url.Values{"abort": {"yes"}})
	require.NoError(w.p.t, err)
}

var (
	formTag  = regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`)
	inputTag = regexp.MustCompile(`(?s)<(?:input|button)\b([^>]*)>`)
	attr     = regexp.MustCompile(`([\w-]+)="([^"]*)"`)
)

// walk opens address and submits the form on every page that has one, with its hidden fields and with answers, until
// the provider redirects elsewhere or a page has no form (or the answers abort: that page shows its form again).
func (w *Person) walk(address string, answers url.Values) (*url.URL, error) {
	resp, err := w.browser.Get(address)
	for range 6 {
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		if to, err := resp.Location(); err == nil {
			return to, nil
		}
		form := formTag.FindSubmatch(body)
		aborted := resp.Request.Method == http.MethodPost && answers.Has("abort") && strings.Contains(string(body), "interrupted")
		if resp.StatusCode == http.StatusOK && (form == nil || aborted) {
			return nil, nil
		}
		if form == nil {
			return nil, fmt.Errorf("%s answered %s", resp.Request.URL.Path, resp.Status)
		}
		action, err := resp.Request.URL.Parse(html.UnescapeString(attributes(form[1])["action"]))
		if err != nil {
			return nil, err
		}
		resp, err = w.browser.PostForm(action.String(), filled(form[2], answers))
	}
	return nil, errors.New("the provider's pages do not end")
}

func filled(form []byte, answers url.Values) url.Values {
	values := url.Values{}
	for _, tag := range inputTag.FindAllSubmatch(form, -1) {
		a := attributes(tag[1])
		switch name := a["name"]; {
		case a["type"] == "hidden":
			values.Set(name, html.UnescapeString(a["value"]))
		case answers.Has(name):
			values.Set(name, answers.Get(name))
		}
	}
	if answers.Has("abort") && values.Get("confirm") != "" { // its button stands outside the form
		values.Set("abort", "yes")
	}
	return values
}

func attributes(tag []byte) map[string]string {
	a := map[string]string{}
	for _, m := range attr.FindAllSubmatch(tag, -1) {
		a[string(m[1])] = string(m[2])
	}
	return a
}

// mine reports whether the provider serves u, at its own address or under its issuer's.
func (p *Provider) mine(u *url.URL) bool {
	return u.Host == p.Address || "http://"+u.Host == p.Issuer
}

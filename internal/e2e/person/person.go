// Package person plays somebody at a browser without script: it follows redirects, keeps cookies and fills in forms.
package person

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Person has a browser of their own, whose cookies last as long as the Person.
type Person struct {
	t       testing.TB
	browser http.Client
	answers url.Values
}

// New is somebody who fills every form field and presses every button that answers names with its value there. They
// keep to the hosts given: a redirect to another is where their walk ends.
func New(t testing.TB, answers url.Values, hosts ...string) *Person {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	known := map[string]bool{}
	for _, host := range hosts {
		known[host] = true
	}
	return &Person{t: t, answers: answers, browser: http.Client{
		Jar: jar,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if !known[r.URL.Host] {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}}
}

// Over has the browser use transport; nil: http.DefaultTransport.
func (p *Person) Over(transport http.RoundTripper) *Person {
	p.browser.Transport = transport
	return p
}

// Walk opens address and submits form after form until it is redirected to an unknown host, whose address it returns
// unvisited, or until there is a page without a form to submit, when it returns nil.
func (p *Person) Walk(address string) *url.URL {
	p.t.Helper()
	resp, err := p.browser.Get(address)
	for range 6 {
		require.NoError(p.t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(p.t, err)
		require.NoError(p.t, resp.Body.Close())
		if to, err := resp.Location(); err == nil {
			return to
		}
		action, values, ok := p.fill(body)
		if !ok {
			require.Equal(p.t, http.StatusOK, resp.StatusCode, "at "+resp.Request.URL.Path)
			return nil
		}
		to, err := resp.Request.URL.Parse(action)
		require.NoError(p.t, err)
		resp, err = p.browser.PostForm(to.String(), values)
		require.NoError(p.t, err)
	}
	require.Fail(p.t, fmt.Sprintf("the pages from %s on do not end", address))
	return nil
}

var (
	formTag  = regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`)
	fieldTag = regexp.MustCompile(`(?s)<(?:input|button)\b([^>]*)>`)
	attr     = regexp.MustCompile(`([\w-]+)="([^"]*)"`)
)

// fill gives the action and the values of a page's form. There is nothing to submit if the page has no form, or if
// none of the visible fields of its form are answered.
func (p *Person) fill(page []byte) (action string, values url.Values, ok bool) {
	form := formTag.FindSubmatch(page)
	if form == nil {
		return "", nil, false
	}
	id := attributes(form[1])["id"]
	values = url.Values{}
	hidden := true
	for _, tag := range fieldTag.FindAllSubmatch(page, -1) { // a button may stand outside, and name its form
		a := attributes(tag[1])
		outside := a["form"] != "" && a["form"] != id
		switch name := a["name"]; {
		case name == "" || outside:
		case a["type"] == "hidden":
			values.Set(name, a["value"])
		case p.answers.Has(name):
			values.Set(name, p.answers.Get(name))
			ok = true
		default:
			hidden = hidden && a["type"] == "submit"
		}
	}
	return attributes(form[1])["action"], values, ok || hidden
}

func attributes(tag []byte) map[string]string {
	a := map[string]string{}
	for _, m := range attr.FindAllSubmatch(tag, -1) {
		a[string(m[1])] = html.UnescapeString(string(m[2]))
	}
	return a
}

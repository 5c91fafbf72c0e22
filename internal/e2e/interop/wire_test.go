package interop_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire notes the forms that a client posts to an authorization server, and the answers.
type wire struct {
	base http.RoundTripper

	mu    sync.Mutex
	posts []post // guarded by mu
}

// post is one form and its answer.
type post struct {
	form   url.Values
	status int
	answer map[string]any // nil: no JSON object
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil {
		return w.base.RoundTrip(req)
	}
	sent, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	_ = req.Body.Close()
	again := req.Clone(req.Context())
	again.Body, again.GetBody = io.NopCloser(bytes.NewReader(sent)), nil
	resp, err := w.base.RoundTrip(again)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(got))
	p := post{status: resp.StatusCode}
	p.form, _ = url.ParseQuery(string(sent))
	_ = json.Unmarshal(got, &p.answer)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.posts = append(w.posts, p)
	return resp, err
}

func (w *wire) CloseIdleConnections() { (&http.Client{Transport: w.base}).CloseIdleConnections() }

// of are the token requests of one grant type so far.
func (w *wire) of(grantType string) []post {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []post
	for _, p := range w.posts {
		if p.form.Get("grant_type") == grantType {
			all = append(all, p)
		}
	}
	return all
}

// refused is how many forms were answered with an error code.
func (w *wire) refused(code string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.posts {
		if p.answer["error"] == code {
			n++
		}
	}
	return n
}

// refreshToken is the one that the server gave last.
func (w *wire) refreshToken(t *testing.T) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.posts) - 1; i >= 0; i-- {
		if token, ok := w.posts[i].answer["refresh_token"].(string); ok {
			return token
		}
	}
	require.Fail(t, "the server has given no refresh token")
	return ""
}

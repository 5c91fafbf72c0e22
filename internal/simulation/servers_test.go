package simulation

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"
)

// serveAuthority stands before the authorization server: it sees what arrives, and loses or spoils what is drawn.
func (w *world) serveAuthority(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the process itself held it back
	}
	form, _ := url.ParseQuery(string(body))
	p := w.named(r.Header.Get(processHeader))
	seen := w.judge.presented(p, r.Header.Get(requestHeader), r.URL.Path, form)
	process := func() *httptest.ResponseRecorder {
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		w.as.ServeHTTP(answer, again)
		if w.server == "same answer" && answer.Code == http.StatusOK {
			answer = w.first(form.Get("refresh_token"), answer)
		}
		w.judge.processed(seen, answer.Code, answer.Body.Bytes())
		return answer
	}
	canned := func(status int, text string, header ...string) {
		for i := 0; i < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, text)
	}
	switch fault(r.Header.Get(faultHeader)) {
	case "lose request":
		panic(http.ErrAbortHandler)
	case "lose answer":
		process()
		panic(http.ErrAbortHandler)
	case "late":
		w.judge.isLate(seen)
		delay := time.Duration(1+len(body)%3) * 900 * time.Millisecond
		w.late.Go(func() { time.Sleep(delay); process() })
		panic(http.ErrAbortHandler)
	case "500":
		canned(500, `{"error":"server_error"}`)
	case "500 after":
		process()
		canned(502, "<html>bad gateway</html>", "Content-Type", "text/html")
	case "page under 200":
		process()
		canned(200, "<html>log in to the network</html>", "Content-Type", "text/html")
	case "page under 403":
		canned(403, "<html>blocked</html>", "Content-Type", "text/html")
	case "429 seconds":
		canned(429, "", "Retry-After", "7")
	case "503 date":
		canned(503, "", "Retry-After", time.Now().Add(4*time.Second).UTC().Format(http.TimeFormat))
	default:
		answer := process()
		for name, values := range answer.Header() {
			rw.Header()[name] = values
		}
		rw.WriteHeader(answer.Code)
		text := answer.Body.Bytes()
		if r.Header.Get(faultHeader) == "cut" {
			_, _ = rw.Write(text[:len(text)/2])
			panic(http.ErrAbortHandler)
		}
		_, _ = rw.Write(text)
	}
}

// first returns the first good answer to a refresh token, which this one may be.
func (w *world) first(token string, answer *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	w.crowd.Lock()
	defer w.crowd.Unlock()
	before, ok := w.answers[token]
	if !ok || token == "" {
		w.answers[token] = answer
		return answer
	}
	again := httptest.NewRecorder()
	again.Header().Set("Content-Type", "application/json")
	_, _ = again.Write(before.Body.Bytes())
	return again
}

func (w *world) named(name string) *process {
	for _, p := range w.everybody() {
		if p.name == name {
			return p
		}
	}
	panic("a request of nobody")
}

// serveAPI redirects some calls to somebody who collects tokens.
func (w *world) serveAPI(rw http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/away") {
		http.Redirect(rw, r, "https://evil.test/back", http.StatusTemporaryRedirect)
		return
	}
	_, _ = io.Copy(rw, r.Body)
}

// serveEvil looks at what came along, and redirects to where the token would be good.
func (w *world) serveEvil(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		w.judge.rule("I7: a token went along a redirect")
	}
	http.Redirect(rw, r, "https://api.test/", http.StatusTemporaryRedirect)
}

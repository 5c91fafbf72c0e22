package loopback

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

// page is what a browser is shown.
type page struct {
	Status int
	Title  string
	Text   string
	Code   string // an error code of RFC 6749; empty: none
}

var (
	succeeded = &page{Status: http.StatusOK, Title: "You are logged in", Text: "You can close this window and return to the program."}
	ended     = &page{Status: http.StatusOK, Title: "The login was ended", Text: "The program has stopped waiting. Return to it and log in again."}

	notOurs     = &page{Status: http.StatusBadRequest, Title: "Not the login under way", Text: "This answer does not belong to the login that the program waits for. Return to the program."}
	notFound    = &page{Status: http.StatusNotFound, Title: "Nothing here", Text: "This address only receives the answer to a login."}
	badMethod   = &page{Status: http.StatusMethodNotAllowed, Title: "Not like this", Text: "This address only receives the answer to a login."}
	misdirected = &page{Status: http.StatusMisdirectedRequest, Title: "Wrong address", Text: "This program answers under its own address only."}
)

// failed is the page for a login that came to nothing.
func failed(code string) *page {
	p := &page{Status: http.StatusOK, Title: "The login has failed", Text: "Return to the program to see what happened and to try again.", Code: word(code)}
	if code == "access_denied" {
		p.Title, p.Text = "Access was not granted", "Return to the program if you want to try again."
	}
	return p
}

// word keeps of an error code what RFC 6749 §4.1.2.1 allows in one, and not much of it.
func word(code string) string {
	const most = 64
	code = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, code)
	return code[:min(len(code), most)]
}

// style is all that the pages load.
const style = `
:root { color-scheme: light dark; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #f6f7f9; color: #1c2128;
  font: 1rem/1.6 system-ui, sans-serif; }
main { box-sizing: border-box; max-width: 30rem; margin: 1rem; padding: 2rem 2.5rem; background: #fff;
  border: 1px solid #d9dee5; border-radius: 0.75rem; }
h1 { margin: 0 0 0.5rem; font-size: 1.4rem; line-height: 1.3; }
p { margin: 0.5rem 0 0; }
code { font: 0.95em ui-monospace, monospace; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) {
  body { background: #14171c; color: #e4e8ee; }
  main { background: #1d2229; border-color: #363d47; }
}
`

var document = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>{{.Style}}</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{- with .Code}}
<p>Reason: <code>{{.}}</code></p>
{{- end}}
</main>
</body>
</html>
`))

// policy allows the one style sheet, by its hash, and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// Style is the style sheet, for the template.
func (p *page) Style() template.CSS { return style }

// write sends the page.
func (p *page) write(w http.ResponseWriter) {
	var b bytes.Buffer
	if err := document.Execute(&b, p); err != nil {
		panic(err) // the template is a constant
	}
	setHeader(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b.Bytes())
}

// setHeader sets what every answer carries.
func setHeader(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

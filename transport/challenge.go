package transport

import (
	"net/http"
	"strings"
)

// Challenge is one thing that a response asks for (RFC 9110 §11.6.1, RFC 6750 §3).
type Challenge struct {
	// Scheme is the authentication scheme as the server wrote it; compare it without regard to case.
	Scheme string
	// Token68 is what follows the scheme instead of parameters, as in "Negotiate YII=".
	Token68 string
	// Params are the parameters by lower-case name: error, error_description, scope, acr_values,
	// max_age, claims, resource_metadata, realm … Of a repeated one the first counts.
	Params map[string]string
}

// maxChallenges bounds what is read of one response.
const maxChallenges = 64

// Challenges returns what resp asks for in its WWW-Authenticate headers. It never fails: what cannot be
// read is left out.
func Challenges(resp *http.Response) []Challenge {
	var all []Challenge
	for _, value := range resp.Header.Values("WWW-Authenticate") {
		p := parser{rest: value}
		for len(all) < maxChallenges && p.skipTo() {
			all = p.element(all)
		}
	}
	return all
}

// parser reads a header value from the left. Each step takes at least one byte, so it ends, in linear
// time, whatever it is given.
type parser struct {
	rest string
	open bool // a challenge of this header can take parameters
}

// skipTo moves to the next element of the list; false at the end.
func (p *parser) skipTo() bool {
	p.rest = strings.TrimLeft(p.rest, " \t,")
	return p.rest != ""
}

// element reads a parameter of the last challenge, or a new challenge.
func (p *parser) element(all []Challenge) []Challenge {
	word := p.word()
	if word == "" {
		p.garbage()
		return all
	}
	if name, value, ok := p.param(word); ok {
		if p.open {
			set(&all[len(all)-1], name, value)
		}
		return all
	}
	if p.rest != "" && !strings.ContainsRune(" \t,", rune(p.rest[0])) {
		p.garbage()
		return all
	}
	p.open = true
	all = append(all, Challenge{Scheme: word, Params: map[string]string{}})
	p.afterScheme(&all[len(all)-1])
	return all
}

// afterScheme reads the token68 or the first parameter behind a scheme.
func (p *parser) afterScheme(c *Challenge) {
	if p.rest == "" || p.rest[0] == ',' {
		return
	}
	p.rest = strings.TrimLeft(p.rest, " \t")
	before := p.rest
	word := p.word()
	if name, value, ok := p.param(word); ok {
		set(c, name, value)
		return
	}
	p.rest = before
	end := strings.IndexAny(before, " \t,")
	if end < 0 {
		end = len(before)
	}
	if isToken68(before[:end]) {
		c.Token68, p.rest = before[:end], before[end:]
	}
}

// param reads "= value" behind a name.
func (p *parser) param(name string) (_, value string, ok bool) {
	rest := strings.TrimLeft(p.rest, " \t")
	if name == "" || !strings.HasPrefix(rest, "=") {
		return "", "", false
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if rest == "" || rest[0] == ',' || rest[0] == '=' {
		return "", "", false // padding of a token68
	}
	p.rest = rest
	if rest[0] == '"' {
		return name, p.quoted(), true
	}
	end := strings.IndexByte(rest, ',')
	if end < 0 {
		end = len(rest)
	}
	// An unquoted value ends at a space by the grammar; some servers write whole sentences.
	value, p.rest = strings.TrimRight(rest[:end], " \t"), rest[end:]
	return name, value, true
}

// quoted reads a quoted string; one without an end goes to the end.
func (p *parser) quoted() string {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '"':
			p.rest = p.rest[i+1:]
			return b.String()
		case '\\':
			if i++; i == len(p.rest) {
				continue
			}
		}
		b.WriteByte(p.rest[i])
	}
	p.rest = ""
	return b.String()
}

// word reads a token (RFC 9110 §5.6.2).
func (p *parser) word() string {
	end := 0
	for end < len(p.rest) && isTokenByte(p.rest[end]) {
		end++
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// garbage skips to the next comma. What follows belongs to no challenge that was understood.
func (p *parser) garbage() {
	if end := strings.IndexByte(p.rest, ','); end >= 0 {
		p.rest = p.rest[end:]
		return
	}
	p.rest = ""
}

func set(c *Challenge, name, value string) {
	name = strings.ToLower(name)
	if _, twice := c.Params[name]; !twice {
		c.Params[name] = value
	}
}

func isTokenByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// isToken68 reports whether s is a token68 (RFC 9110 §11.2).
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if !(isTokenByte(s[i]) || s[i] == '/') {
			return false
		}
	}
	return s != ""
}

package transport

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxChallenges     = 64       // of one answer
	maxChallengeBytes = 64 << 10 // of all header values of one answer
)

// Challenge is one thing that a response asks for (RFC 9110 §11.6.1).
type Challenge struct {
	// Scheme is the authentication scheme as the server wrote it; compare it without regard to
	// case. Empty: the server gave parameters without naming a scheme, as some do.
	Scheme string

	// Token68 is what follows the scheme in place of parameters, as in "Negotiate YII=".
	Token68 string

	// Params are the parameters under their lower-case names, never nil. Of one that is repeated the
	// first counts. Those that concern an access token: error, error_description, scope (RFC 6750
	// §3), acr_values, max_age (RFC 9470 §3), resource_metadata (RFC 9728 §5.1), algs (RFC 9449
	// §7.1), claims (Entra ID); the methods give what they mean. They are the server's words: not to
	// be trusted, nor to be shown to people as they are.
	Params map[string]string
}

// Challenges returns what resp asks for in its WWW-Authenticate headers, whatever its status: after a 403
// it is what tells the scope that is needed. It never fails: what cannot be read is left out, and of
// what is longer than any server has reason to send only the beginning is read.
func Challenges(resp *http.Response) []Challenge {
	var all []Challenge
	left := maxChallengeBytes
	for _, value := range resp.Header.Values("WWW-Authenticate") {
		value = value[:min(len(value), left)]
		left -= len(value)
		p := parser{rest: value, first: len(all)}
		all = p.list(all)
	}
	return all
}

// Code is the parameter error: why the request was refused, such as "insufficient_scope" (RFC 6750 §3.1). Empty: the
// server does not say.
func (c Challenge) Code() string { return c.Params["error"] }

// IsStepUp reports whether c asks for what no other token of the same grant can give: more scopes (insufficient_scope, RFC
// 6750 §3.1), a better or fresher login (insufficient_user_authentication, RFC 9470 §3), or claims (insufficient_claims, as
// Entra ID says). See [StepUpper].
func (c Challenge) IsStepUp() bool {
	return c.isOAuth() && slices.Contains([]string{"insufficient_scope", "insufficient_user_authentication", "insufficient_claims"}, c.Code())
}

// Scopes are the scopes that the request needs (RFC 6750 §3), as far as they can be scopes (RFC 6749 §3.3). Nil: the server
// does not say.
func (c Challenge) Scopes() []string {
	isForeign := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	scopes := slices.DeleteFunc(strings.Fields(c.Params["scope"]), func(s string) bool { return strings.ContainsFunc(s, isForeign) })
	if len(scopes) == 0 {
		return nil
	}
	return scopes
}

// ACRValues are the authentication contexts of which the login must be one, the best first (RFC 9470 §3). Nil: any will do.
func (c Challenge) ACRValues() []string {
	values := strings.Fields(c.Params["acr_values"])
	if len(values) == 0 {
		return nil
	}
	return values
}

// MaxAge is how long ago the person may have authenticated (RFC 9470 §3), in whole seconds; false where the server does not
// say, or says what is not a number of seconds.
func (c Challenge) MaxAge() (time.Duration, bool) {
	seconds, err := strconv.ParseUint(c.Params["max_age"], 10, 31)
	return time.Duration(seconds) * time.Second, err == nil
}

// Claims is the JSON object, in Base64 or Base64url, that Entra ID wants as the parameter claims of the next authorization
// request. Nil: there is none. An error, which quotes nothing, says that there is one and that it is no such thing.
func (c Challenge) Claims() (json.RawMessage, error) {
	encoded := strings.TrimRight(c.Params["claims"], "=")
	if encoded == "" {
		return nil, nil
	}
	claims, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(encoded))
	var members map[string]json.RawMessage
	if err != nil || json.Unmarshal(claims, &members) != nil || members == nil {
		return nil, errors.New("transport: the claims of the challenge are not a JSON object in Base64")
	}
	return claims, nil
}

// ResourceMetadata is the URL where the resource server describes itself (RFC 9728 §5.1), as it says. Empty: it does not.
// It is to be checked before it is asked (RFC 9728 §3.3, §7.7).
func (c Challenge) ResourceMetadata() string { return c.Params["resource_metadata"] }

// isOAuth reports whether an access token could answer c: its scheme takes one, or it names none. "OAuth"
// and "Token" are what some servers write who take Bearer.
func (c Challenge) isOAuth() bool {
	return slices.ContainsFunc([]string{"", "Bearer", "DPoP", "OAuth", "Token"}, func(scheme string) bool {
		return strings.EqualFold(c.Scheme, scheme)
	})
}

// parser reads a header value from the left. Every step takes at least one byte and looks at none more
// than a few times, so it ends, in linear time, whatever it is given.
type parser struct {
	rest  string
	first int // index of the first challenge of this header value
}

// list reads the elements of the list: challenges, and further parameters of the one before.
func (p *parser) list(all []Challenge) []Challenge {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t,")
		if p.rest == "" {
			return all
		}
		word := p.word()
		name, value, ok := p.param(word)
		switch {
		case ok && len(all) > p.first:
			all[len(all)-1].set(name, value)
		case len(all) == maxChallenges:
			return all
		case ok:
			c := Challenge{Params: map[string]string{}}
			c.set(name, value)
			all = append(all, c)
		case word != "" && p.atGap():
			all = append(all, p.challenge(word))
		default:
			p.skipElement()
		}
	}
}

// challenge reads what follows a scheme: a token68, the first parameter, or nothing.
func (p *parser) challenge(scheme string) Challenge {
	c := Challenge{Scheme: scheme, Params: map[string]string{}}
	p.rest = strings.TrimLeft(p.rest, " \t")
	before := p.rest
	if name, value, ok := p.param(p.word()); ok {
		c.set(name, value)
		return c
	}
	end := strings.IndexAny(before, " \t,")
	if end < 0 {
		end = len(before)
	}
	if isToken68(before[:end]) {
		c.Token68, p.rest = before[:end], before[end:]
	} else {
		p.rest = before
	}
	return c
}

// param reads what follows a parameter's name: "=" and a value.
func (p *parser) param(name string) (_, value string, ok bool) {
	rest := strings.TrimLeft(p.rest, " \t")
	if name == "" || !strings.HasPrefix(rest, "=") {
		return "", "", false
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if rest == "" || rest[0] == ',' || rest[0] == '=' {
		return "", "", false // that was the padding of a token68, or nothing
	}
	p.rest = rest
	if rest[0] == '"' {
		return name, p.quoted(), true
	}
	return name, p.unquoted(), true
}

// quoted reads a quoted string (RFC 9110 §5.6.4). One without an end goes to the end.
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

// unquoted reads a value without quotes. By the grammar a space ends it, but there are servers that
// write a whole sentence: it goes on to the next comma, or to a gap before another parameter.
func (p *parser) unquoted() string {
	end := 0
	for end < len(p.rest) && p.rest[end] != ',' {
		if isSpace(p.rest[end]) && !isSpace(p.rest[end-1]) && startsParam(p.rest[end:]) {
			break
		}
		end++
	}
	value := strings.TrimRight(p.rest[:end], " \t")
	p.rest = p.rest[end:]
	return value
}

// startsParam reports whether a name and a "=" come next.
func startsParam(s string) bool {
	next := parser{rest: strings.TrimLeft(s, " \t")}
	return next.word() != "" && strings.HasPrefix(next.rest, "=")
}

// word reads a token (RFC 9110 §5.6.2), or nothing.
func (p *parser) word() string {
	end := 0
	for end < len(p.rest) && isTokenByte(p.rest[end]) {
		end++
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// atGap reports whether an element, or its scheme, ends here.
func (p *parser) atGap() bool {
	return p.rest == "" || isSpace(p.rest[0]) || p.rest[0] == ','
}

// skipElement gives up what is neither a challenge nor a parameter.
func (p *parser) skipElement() {
	_, p.rest, _ = strings.Cut(p.rest, ",")
}

func (c *Challenge) set(name, value string) {
	name = strings.ToLower(name)
	if _, twice := c.Params[name]; !twice {
		c.Params[name] = value
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' }

func isAlphanumeric(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

func isTokenByte(b byte) bool {
	return isAlphanumeric(b) || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// isToken68 reports whether s is a token68 (RFC 9110 §11.2).
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("-._~+/", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

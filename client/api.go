package client

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/origin"
	"github.com/evergrant/evergrant/transport"
)

// api is how resource servers take tokens, and reject them.
type api struct {
	hosts    []string // where tokens may go; nil: wherever the transport lets them
	header   string
	fields   http.Header
	rejected func(*http.Response) bool
}

func newAPI(p *provider.API, clientID string) api {
	a := api{hosts: slices.Clone(p.Hosts), header: p.Header}
	for i, host := range a.hosts {
		a.hosts[i] = origin.Lower(strings.TrimSuffix(host, ":443"))
	}
	for name, value := range p.Fields {
		if a.fields == nil {
			a.fields = make(http.Header)
		}
		a.fields.Set(name, strings.ReplaceAll(value, "{client_id}", clientID))
	}
	if len(p.Rejected) > 0 {
		rules := slices.Clone(p.Rejected)
		a.rejected = func(resp *http.Response) bool { return rejects(rules, resp) }
	}
	return a
}

// wrong says what is wrong with a; "" when nothing is.
func (a api) wrong() string {
	if a.header != "" && strings.Count(a.header, "{token}") != 1 {
		return `has a Header without a token; write it as "X-Access-Token: {token}"`
	}
	for _, host := range a.hosts {
		u, err := url.Parse("https://" + strings.TrimPrefix(host, "*."))
		if err != nil || u.Host == "" || u.Host != strings.TrimPrefix(host, "*.") || strings.ContainsAny(u.Host, "*@") || !origin.IsASCII(u.Host) {
			return `has Hosts that are none; write them as "api.example.com" or "*.example.com", what is not ASCII in punycode`
		}
	}
	return ""
}

// around is t with what is special about the API.
func (c *Client) around(t *transport.Transport) http.RoundTripper {
	a := &c.profile.api
	t.Header, t.Fields, t.Rejected = a.header, a.fields, a.rejected
	if a.hosts == nil || t.Origins != nil {
		return t
	}
	return &within{hosts: a.hosts, Transport: t}
}

// within sends requests with a token to some hosts only.
type within struct {
	hosts []string
	*transport.Transport
}

// RoundTrip implements http.RoundTripper.
func (w *within) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL != nil && slices.ContainsFunc(w.hosts, func(pattern string) bool { return isHost(req.URL, pattern) }) {
		return w.Transport.RoundTrip(req)
	}
	if w.Base == nil {
		return http.DefaultTransport.RoundTrip(req)
	}
	return w.Base.RoundTrip(req)
}

// isHost reports whether u is at a host, or at one whose name ends as the pattern does after its "*". A host beyond ASCII is
// none of them: where it leads is known only once it is spelt in punycode.
func isHost(u *url.URL, pattern string) bool {
	host := origin.Lower(strings.TrimSuffix(u.Host, ":443"))
	if !origin.IsASCII(host) {
		return false
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return host == pattern
}

// mostSeen bounds the answers that a rule can be about, in bytes.
const mostSeen = 64 << 10

// rejects reports whether an answer says by one of the rules that its token is not good any more.
func rejects(rules []provider.Rejection, resp *http.Response) bool {
	var body []byte
	for _, rule := range rules {
		if rule.Status != resp.StatusCode {
			continue
		}
		if rule.Path == "" && rule.Text == "" {
			return true
		}
		if resp.StatusCode < 300 && (!isJSON(resp) || resp.ContentLength > mostSeen) {
			return false // it is what the program has asked for
		}
		if body == nil {
			var err error
			if body, err = seen(resp); err != nil {
				return false
			}
		}
		if rule.Path != "" && !slices.Contains(rule.Values, authserver.Scalar(authserver.At(body, rule.Path))) {
			continue
		}
		if strings.Contains(string(body), rule.Text) {
			return true
		}
	}
	return false
}

// seen is what the rules look at: all of a refusal's body, and the first JSON value of any other, behind which a stream may go
// on for hours.
func seen(resp *http.Response) (body json.RawMessage, err error) {
	limited := io.LimitReader(resp.Body, mostSeen)
	if resp.StatusCode < 300 {
		err = json.NewDecoder(limited).Decode(&body)
		return body, err
	}
	return io.ReadAll(limited)
}

func isJSON(resp *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

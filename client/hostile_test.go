package client_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/authserver"
)

// den is an authorization server at http://127.0.0.1, and a resource server at http://api.localhost, on connections that stay
// in the process. All is well there but at one path, whose answers a test writes byte by byte.
type den struct {
	provider *provider // signs
	path     string    // where it is hostile
	answers  func(*victim)

	mu      sync.Mutex
	conns   []net.Conn  // guarded by mu
	places  []string    // that were dialled; guarded by mu
	heard   []overheard // guarded by mu
	written int         // bytes of hostile answers that were taken; guarded by mu
	wg      sync.WaitGroup
}

// overheard is a request as it came.
type overheard struct{ place, method, path, all, proof string }

// victim is one request to the hostile path.
type victim struct {
	den     *den
	conn    net.Conn
	request *http.Request
	good    string // the body of a good answer
	n       int    // how many came before
}

const lair = "http://127.0.0.1"

func newDen(t *testing.T) *den {
	d := &den{provider: newProvider(t)}
	d.provider.metadata = map[string]any{"issuer": lair, "authorization_endpoint": lair + "/authorize"}
	for member, path := range map[string]string{
		"token_endpoint": "/token", "revocation_endpoint": "/revoke", "pushed_authorization_request_endpoint": "/par", "jwks_uri": "/jwks",
		"device_authorization_endpoint": "/device", "userinfo_endpoint": "/me", "introspection_endpoint": "/introspect",
		"registration_endpoint": "/register", "end_session_endpoint": "/end",
	} {
		d.provider.metadata[member] = lair + path
	}
	return d
}

// transport reaches the den, whatever the address.
func (d *den) transport() *http.Transport {
	return &http.Transport{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		d.mu.Lock()
		d.conns, d.places = append(d.conns, theirs), append(d.places, address)
		d.mu.Unlock()
		d.wg.Go(func() { d.serve(theirs, address) })
		return ours, nil
	}}
}

func (d *den) close() {
	d.mu.Lock()
	for _, c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// serve answers one request and closes.
func (d *den) serve(conn net.Conn, place string) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, _ := io.ReadAll(req.Body)
	req.Form, _ = url.ParseQuery(string(body))
	header := new(strings.Builder)
	_ = req.Header.Write(header)
	d.mu.Lock()
	n := 0
	for _, h := range d.heard {
		if h.path == req.URL.Path {
			n++
		}
	}
	d.heard = append(d.heard, overheard{place, req.Method, req.URL.Path, req.URL.String() + "\n" + header.String() + string(body), req.Header.Get("DPoP")})
	d.mu.Unlock()
	status, kind, good := d.good(req, n)
	if req.URL.Path == d.path {
		d.answers(&victim{d, conn, req, good, n})
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 %d x\r\nConnection: close\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s",
		status, time.Now().UTC().Format(http.TimeFormat), kind, len(good), d.challenge(status), good)
}

func (d *den) challenge(status int) string {
	if status == http.StatusUnauthorized {
		return "WWW-Authenticate: Bearer resource_metadata=\"" + lair + "/.well-known/oauth-protected-resource/mcp\"\r\n"
	}
	return ""
}

// good is what an honest server would answer.
func (d *den) good(req *http.Request, n int) (status int, kind, body string) {
	p := d.provider
	object := func(members any) string { return string(must(json.Marshal(members))) }
	switch path := req.URL.Path; path {
	case "/.well-known/oauth-protected-resource/mcp":
		body = object(map[string]any{"resource": lair + "/mcp", "authorization_servers": []string{lair}, "scopes_supported": []string{"openid"}})
	case "/.well-known/oauth-authorization-server":
		metadata := maps.Clone(p.metadata)
		metadata["code_challenge_methods_supported"] = []string{"S256"}
		body = object(metadata)
	case "/register":
		return http.StatusCreated, "application/json", object(map[string]any{
			"client_id": "registered", "token_endpoint_auth_method": "none", "redirect_uris": []string{"https://app.test/callback"},
			"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		})
	case "/par":
		p.mu.Lock()
		p.nonce = req.Form.Get("nonce")
		p.mu.Unlock()
		return http.StatusCreated, "application/json", `{"request_uri":"urn:x:1","expires_in":60}`
	case "/device":
		body = `{"device_code":"SECRET-DC","user_code":"A-B","verification_uri":"https://as.test/device","expires_in":60,"interval":5}`
	case "/token":
		p.mu.Lock()
		claims := p.good()
		p.mu.Unlock()
		claims["iss"] = lair
		if req.Form.Get("grant_type") == "refresh_token" {
			delete(claims, "nonce")
		}
		kind := "Bearer"
		if req.Header.Get("DPoP") != "" {
			kind = "DPoP"
		}
		body = object(map[string]any{
			"access_token": fmt.Sprintf("SECRET-AT%d", n), "token_type": kind, "expires_in": 3600,
			"refresh_token": fmt.Sprintf("SECRET-RT%d", n), "id_token": p.sign(claims), "scope": "openid",
		})
	case "/jwks":
		body = object(map[string]any{"keys": p.public})
	case "/me":
		body = `{"sub":"alice"}`
	case "/introspect":
		body = `{"active":true}`
	case "/mcp":
		if req.Header.Get("Authorization") == "" {
			return http.StatusUnauthorized, "text/plain", ""
		}
	}
	return http.StatusOK, "application/json", body
}

// head writes the beginning of an answer.
func (v *victim) head(status string, headers ...string) {
	v.text("HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Type: application/json\r\n")
	for _, h := range headers {
		v.text(h + "\r\n")
	}
	v.text("\r\n")
}

// text writes, and reports whether anybody reads on.
func (v *victim) text(s string) bool {
	n, err := io.WriteString(v.conn, s)
	v.den.mu.Lock()
	v.den.written += n
	v.den.mu.Unlock()
	return err == nil
}

// body is a whole answer with 200.
func (v *victim) body(s string, headers ...string) {
	v.head("200 OK", append(headers, fmt.Sprintf("Content-Length: %d", len(s)))...)
	v.text(s)
}

// echo is what was sent, on one line.
func (v *victim) echo() string {
	h := v.request.Header
	return h.Get("Authorization") + "|" + h.Get("DPoP") + "|" + v.request.Form.Encode()
}

// endless repeats s until nobody reads on.
func (v *victim) endless(s string) {
	for v.text(s) {
	}
}

// drip writes s so slowly that patience has to end.
func (v *victim) drip(s string) {
	for i := range len(s) {
		if !v.text(s[i : i+1]) {
			return
		}
		time.Sleep(time.Minute)
	}
}

// A lot of nothing, for headers and for bodies.
var (
	kilobyte = strings.Repeat("a", 1<<10)
	block    = strings.Repeat("a", 32<<10)
)

// everyMember has all members that any answer is read for, with one value.
func everyMember(value string) string {
	var members []string
	for _, name := range []string{
		"access_token", "token_type", "expires_in", "refresh_token", "refresh_in", "scope", "id_token", "error", "error_description", "error_uri", "issued_token_type",
		"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "code_challenge_methods_supported", "mtls_endpoint_aliases",
		"request_uri", "device_code", "user_code", "verification_uri", "verification_uri_complete", "interval", "keys", "sub", "active", "exp", "iat",
		"resource", "authorization_servers", "client_id", "client_secret", "client_secret_expires_at", "redirect_uris", "grant_types", "registration_client_uri",
	} {
		members = append(members, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// bomb is 64 MiB in gzip, which begin as a JSON object: streams one after the other are one.
var bomb = sync.OnceValue(func() string {
	packed := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		return b.String()
	}
	return packed(`{"x":"`) + strings.Repeat(packed(strings.Repeat("a", 1<<20)), 64)
})

// hostilities are ways to answer. usable: what comes is a good answer in the end, which may be taken.
var hostilities = map[string]struct {
	usable bool
	answer func(*victim)
}{
	"silence":               {false, func(v *victim) { _, _ = v.conn.Read(make([]byte, 1)) }},
	"a slow body":           {false, func(v *victim) { v.head("200 OK"); v.drip(v.good + strings.Repeat(" ", 1000)) }},
	"a slow header":         {false, func(v *victim) { v.text("HTTP/1.1 200 OK\r\nX: "); v.drip(kilobyte) }},
	"an endless body":       {false, func(v *victim) { v.head("200 OK"); v.text(`{"x":"`); v.endless(block) }},
	"an endless 401":        {false, func(v *victim) { v.head("401 No", "WWW-Authenticate: Bearer"); v.endless(block) }},
	"an endless 503":        {false, func(v *victim) { v.head("503 No", "Retry-After: 0"); v.endless(block) }},
	"endless white space":   {false, func(v *victim) { v.head("200 OK"); v.endless(strings.Repeat(" \n", 16<<10)) }},
	"an endless header":     {false, func(v *victim) { v.text("HTTP/1.1 200 OK\r\nX: "); v.endless(kilobyte) }},
	"endless headers":       {false, func(v *victim) { v.text("HTTP/1.1 200 OK\r\n"); v.endless("X: " + kilobyte + "\r\n") }},
	"10,000 headers":        {false, func(v *victim) { v.body(v.good, slices.Repeat([]string{"X-Header: value of a header"}, 10_000)...) }},
	"an endless first line": {false, func(v *victim) { v.text("HTTP/1.1 200 "); v.endless(kilobyte) }},
	"interim answers":       {false, func(v *victim) { v.endless("HTTP/1.1 103 Early Hints\r\nX: " + kilobyte + "\r\n\r\n") }},
	"endless chunks": {false, func(v *victim) {
		v.head("200 OK", "Transfer-Encoding: chunked")
		v.endless("8000\r\n" + block + "\r\n")
	}},
	"tiny chunks": {false, func(v *victim) {
		v.head("200 OK", "Transfer-Encoding: chunked")
		v.endless("1;" + kilobyte + "\r\na\r\n")
	}},
	"endless trailers": {true, func(v *victim) {
		v.head("200 OK", "Transfer-Encoding: chunked", "Trailer: X")
		v.text(fmt.Sprintf("%x\r\n%s\r\n0\r\n", len(v.good), v.good))
		v.endless("X: " + kilobyte + "\r\n")
	}},
	"a gzip bomb":            {false, func(v *victim) { v.body(bomb(), "Content-Encoding: gzip") }},
	"broken gzip":            {false, func(v *victim) { v.body(v.good, "Content-Encoding: gzip") }},
	"a redirect to itself":   {false, func(v *victim) { v.head("302 Found", "Location: "+v.request.URL.String()) }},
	"endless redirects":      {false, func(v *victim) { v.head("307 Moved", fmt.Sprintf("Location: %s?%d", v.request.URL.Path, v.n)) }},
	"a redirect elsewhere":   {false, func(v *victim) { v.head("307 Moved", "Location: http://127.0.0.1:666/steal") }},
	"a redirect in the open": {false, func(v *victim) { v.head("308 Moved", "Location: http://evil.test/steal") }},
	"a redirect to a file":   {false, func(v *victim) { v.head("302 Found", "Location: file:///etc/passwd") }},
	"a redirect to a script": {false, func(v *victim) { v.head("302 Found", "Location: javascript:alert(1)") }},
	"a long lie":             {false, func(v *victim) { v.head("200 OK", "Content-Length: 9223372036854775807"); v.text(`{"x":`) }},
	"two lengths":            {false, func(v *victim) { v.head("200 OK", "Content-Length: 5", "Content-Length: 7"); v.text(v.good) }},
	"no HTTP":                {false, func(v *victim) { v.text("SSH-2.0-OpenSSH_9.9\r\n") }},
	"nothing":                {false, func(*victim) {}},
	"a page":                 {false, func(v *victim) { v.body("<html><form action=https://evil.test>") }},
	"null":                   {false, func(v *victim) { v.body("null") }},
	"an array":               {false, func(v *victim) { v.body("[" + v.good + "]") }},
	"wrong types":            {false, func(v *victim) { v.body(everyMember(`{"x":[1]}`)) }},
	"arrays of strings":      {false, func(v *victim) { v.body(everyMember(`["a","b"]`)) }},
	"huge numbers":           {false, func(v *victim) { v.body(everyMember(`1e999999`)) }},
	"deep nesting":           {false, func(v *victim) { v.body(`{"x":` + strings.Repeat("[", 100_000)) }},
	"deep objects": {false, func(v *victim) {
		v.body(everyMember(strings.Repeat(`{"a":`, 900) + "1" + strings.Repeat("}", 900)))
	}},
	"no UTF-8":          {false, func(v *victim) { v.body(everyMember("\"\xff\xfe\x1b[31m\"")) }},
	"scripts and files": {false, func(v *victim) { v.body(everyMember(`"javascript:alert(1)"`)) }},
	"members twice":     {false, func(v *victim) { v.body(everyMember(`"a"`)[:len(everyMember(`"a"`))-1] + "," + everyMember(`"b"`)[1:]) }},
	"a form, twice":     {false, func(v *victim) { v.body("access_token=a&access_token=b&token_type=Bearer") }},
	"an echo": {false, func(v *victim) {
		v.head("400 No")
		v.text(fmt.Sprintf(`{"error":"invalid_request","error_description":%q}`, v.request.Form.Encode()+v.request.Header.Get("Authorization")))
	}},
	"an echo in a redirect": {false, func(v *victim) { v.head("302 Found", "Location: /%zz"+v.echo()+block[:5000]) }},
	"an echo for a status":  {false, func(v *victim) { v.text(v.echo() + block[:5000] + "\r\n\r\n") }},
	"an echo for a header":  {false, func(v *victim) { v.head("200 OK", v.echo()+block[:5000]) }},
	"an echo for a trailer": {true, func(v *victim) {
		v.head("200 OK", "Transfer-Encoding: chunked", "Trailer: X")
		v.text(fmt.Sprintf("%x\r\n%s\r\n0\r\n%s\r\n\r\n", len(v.good), v.good, v.echo()))
	}},
	"cookies": {true, func(v *victim) { v.body(v.good, slices.Repeat([]string{"Set-Cookie: id=1; Path=/"}, 100)...) }},
}

// fronts are the endpoints that a client asks, and how to have it ask.
var fronts = map[string]struct {
	member   string // of the metadata, by which the endpoint is known
	path     string
	bare     bool // it answers by its status alone: any body will do
	ordinary bool // what comes reaches the program as it is
	patience time.Duration
	config   func(*client.Config)
	drive    func(x *ordeal) error
}{
	"discovery":     {"", "/.well-known/oauth-authorization-server", false, false, flight, nil, (*ordeal).renew},
	"refresh":       {"token_endpoint", "/token", false, false, flight, nil, (*ordeal).renew},
	"code":          {"token_endpoint", "/token", false, false, flight, nil, (*ordeal).login},
	"client's own":  {"token_endpoint", "/token", false, false, flight, func(c *client.Config) { c.Grant = client.ClientCredentials{} }, (*ordeal).ask},
	"device":        {"device_authorization_endpoint", "/device", false, false, flight, nil, (*ordeal).device},
	"device token":  {"token_endpoint", "/token", false, false, 10 * time.Minute, nil, (*ordeal).device},
	"push":          {"pushed_authorization_request_endpoint", "/par", false, false, flight, nil, (*ordeal).login},
	"revocation":    {"revocation_endpoint", "/revoke", true, false, flight, nil, (*ordeal).logout},
	"keys":          {"jwks_uri", "/jwks", false, false, flight, nil, (*ordeal).login},
	"UserInfo":      {"userinfo_endpoint", "/me", false, false, flight, nil, (*ordeal).userInfo},
	"with a proof":  {"userinfo_endpoint", "/me", false, false, flight, func(c *client.Config) { c.DPoP = &client.DPoP{} }, (*ordeal).userInfo},
	"introspection": {"introspection_endpoint", "/introspect", false, false, flight, nil, (*ordeal).introspect},
	"resource":      {"", "/mcp", false, true, flight, resource, (*ordeal).login},
	"of a resource": {"", "/.well-known/oauth-protected-resource/mcp", false, false, flight, resource, (*ordeal).login},
	"registration":  {"registration_endpoint", "/register", false, false, flight, resource, (*ordeal).login},
	"API":           {"", "/api", false, true, flight, nil, (*ordeal).call},
}

// opened are the endpoints that only a person's browser goes to; that they are https is shown by TestEndpointsAreSafe_R8414_2.
var opened = []string{"authorization_endpoint", "end_session_endpoint"}

const flight = 3 * time.Minute

// resource is zero configuration.
func resource(c *client.Config) {
	c.Issuer, c.ClientID, c.ClientSecret, c.Scopes = "", "", "", nil
	c.Resource, c.LocalNetwork = lair+"/mcp", true
}

// ordeal is one endpoint under one hostility.
type ordeal struct {
	t     *testing.T
	den   *den
	alice *client.Session
}

// adopt gives alice a grant, before anything becomes hostile.
func (x *ordeal) adopt() {
	x.t.Helper()
	require.NoError(x.t, x.alice.Adopt(x.t.Context(), &oauth2.Token{RefreshToken: "SECRET-RT"}))
}

// peace has f done before the hostilities.
func (x *ordeal) peace(f func() error) {
	x.t.Helper()
	path := x.den.path
	x.den.path = ""
	require.NoError(x.t, f())
	x.den.path = path
}

func (x *ordeal) renew() error {
	x.adopt()
	_, err := x.alice.Renew(x.t.Context(), nil)
	if err != nil {
		status, statusErr := x.alice.Status(x.t.Context())
		require.NoError(x.t, statusErr)
		require.True(x.t, status.LoggedIn, "the grant stays")
		require.NotErrorIs(x.t, err, client.ErrLoginRequired)
	}
	return err
}

func (x *ordeal) ask() error { _, err := x.alice.Token(x.t.Context()); return err }

func (x *ordeal) login() error {
	p, err := x.alice.Start(x.t.Context(), client.AuthCode{})
	if err != nil {
		return err
	}
	address, err := url.Parse(p.URL)
	require.NoError(x.t, err)
	require.Equal(x.t, lair+"/authorize", address.Scheme+"://"+address.Host+address.Path)
	text, err := p.MarshalText()
	require.NoError(x.t, err)
	return x.alice.Finish(x.t.Context(), p, url.Values{"code": {"SECRET-C"}, "state": {stateOf(x.t, text)}})
}

func (x *ordeal) device() error {
	return x.alice.Login(x.t.Context(), client.Device{Prompt: shown})
}

func (x *ordeal) logout() error {
	x.adopt()
	err := x.alice.Logout(x.t.Context())
	status, statusErr := x.alice.Status(x.t.Context())
	require.NoError(x.t, statusErr)
	require.False(x.t, status.LoggedIn, "it is deleted, whatever the server does")
	return err
}

func (x *ordeal) userInfo() error {
	x.peace(x.login)
	return x.alice.UserInfo(x.t.Context(), new(any))
}

func (x *ordeal) introspect() error {
	x.peace(x.login)
	_, err := x.alice.Introspect(x.t.Context(), nil)
	return err
}

// call is a request to a resource server, of whose answer the program reads a little.
func (x *ordeal) call() error {
	x.peace(x.login)
	ctx, cancel := context.WithTimeout(x.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api.localhost/api", nil)
	require.NoError(x.t, err)
	base := x.den.transport()
	base.MaxResponseHeaderBytes = 64 << 10 // the program's own affair
	resp, err := x.alice.Wrap(&http.Client{Transport: base}).Do(req)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 100)
	return resp.Body.Close()
}

// TestHostileAnswers has every endpoint answer in every way. A request ends in time, with little read, with a typed error
// that shows no secret; nothing secret goes anywhere else; the grant stays.
func TestHostileAnswers(t *testing.T) {
	bomb() // is not counted
	for where, e := range fronts {
		t.Run(where, func(t *testing.T) {
			for how, h := range hostilities {
				t.Run(how, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d := newDen(t)
						defer d.close()
						config := client.Config{
							Issuer: lair, ClientID: "app", ClientSecret: "SECRET-CS-of-more-than-enough-octets", Scopes: []string{"openid"},
							RedirectURL: "https://app.test/callback", AuthServerClient: &http.Client{Transport: d.transport()},
						}
						if e.config != nil {
							e.config(&config)
						}
						c, err := client.New(config)
						require.NoError(t, err)
						x := &ordeal{t, d, c.Session("alice")}
						d.path, d.answers = e.path, h.answer
						before, began := allocated(), time.Now()
						err = e.drive(x)
						require.Less(t, time.Since(began), e.patience)
						require.NoError(t, c.Close(t.Context()))
						d.close()
						require.Less(t, allocated()-before, uint64(16<<20*(1+len(d.heard))), "bytes")
						switch {
						case e.ordinary || e.bare && err == nil:
						case !h.usable:
							var typed *client.Error
							require.ErrorAs(t, err, &typed)
						}
						d.judge(t, err)
					})
				})
			}
		})
	}
}

// A program's own limit ends the request as http.Client would.
func TestUserInfoKeepsToTheTimeout(t *testing.T) {
	for _, how := range []string{"silence", "a slow body"} {
		synctest.Test(t, func(t *testing.T) {
			d := newDen(t)
			defer d.close()
			c, err := client.New(client.Config{
				Issuer: lair, ClientID: "app", Scopes: []string{"openid"}, RedirectURL: "https://app.test/callback",
				AuthServerClient: &http.Client{Transport: d.transport(), Timeout: 7 * time.Second},
			})
			require.NoError(t, err)
			x := &ordeal{t, d, c.Session("alice")}
			x.peace(x.login)
			d.path, d.answers = "/me", hostilities[how].answer
			began := time.Now()
			require.ErrorIs(t, x.alice.UserInfo(t.Context(), new(any)), context.DeadlineExceeded)
			require.Equal(t, 7*time.Second, time.Since(began))
			require.NoError(t, c.Close(t.Context()))
		})
	}
}

// judge looks at what came.
func (d *den) judge(t *testing.T, err error) {
	t.Helper()
	if _, ours := errors.AsType[*client.Error](err); ours || err != nil && d.path != "/api" { // whose errors are net/http's
		for _, h := range d.heard {
			require.True(t, h.proof == "" || !strings.Contains(err.Error(), h.proof))
		}
		require.NotContains(t, err.Error(), "SECRET")
		require.Less(t, len(err.Error()), 4000)
		for e := err; e != nil; e = errors.Unwrap(e) {
			require.NotContains(t, fmt.Sprintf("%+v %#v", e, e), "SECRET")
		}
	}
	require.Less(t, d.written, 2<<20*len(d.heard), "bytes of hostile answers were read")
	require.Less(t, len(d.heard), 60)
	for _, h := range d.heard {
		require.NotContains(t, h.all, "Cookie")
		if h.place != "127.0.0.1:80" && h.place != "api.localhost:80" {
			require.NotContains(t, h.all, "SECRET", h.place)
			require.NotContains(t, h.all, "Authorization", h.place)
			require.Equal(t, http.MethodGet, h.method, h.place)
		}
		if h.place == "api.localhost:80" {
			require.NotContains(t, h.all, "SECRET-RT")
		}
		if h.method == http.MethodGet && h.path != "/me" && h.path != "/api" {
			require.NotContains(t, h.all, "SECRET", h.path)
		}
	}
	if d.path != "/api" { // where the program's own client goes, without the token
		require.NotContains(t, d.places, "evil.test:80")
	}
}

// TestEveryEndpointIsInTheTable compares the table with what the metadata can name.
func TestEveryEndpointIsInTheTable(t *testing.T) {
	known := slices.Clone(opened)
	for _, e := range fronts {
		known = append(known, e.member)
	}
	found := 0
	for _, field := range reflect.VisibleFields(reflect.TypeFor[authserver.Metadata]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if strings.HasSuffix(name, "_endpoint") || strings.HasSuffix(name, "_uri") {
			require.Contains(t, known, name)
			found++
		}
	}
	require.GreaterOrEqual(t, found, 8)
}

// stateOf is the state of a login that was begun.
func stateOf(t *testing.T, text []byte) string {
	t.Helper()
	decoded, err := base64.RawURLEncoding.DecodeString(string(text))
	require.NoError(t, err)
	var members struct{ State string }
	require.NoError(t, json.Unmarshal(decoded, &members))
	return members.State
}

// allocated is how much this process has allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

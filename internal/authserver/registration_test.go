package authserver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

var none secret.String

// native is a program on a person's machine.
func native() *authserver.Program {
	return &authserver.Program{Name: "Tool", RedirectURIs: []string{"http://127.0.0.1:7/callback"}}
}

// office registers clients and manages them. It keeps what it was asked.
type office struct {
	url    string
	status int
	answer string // %s is its own URL
	asked  []*http.Request
	bodies []string
}

func newOffice(t *testing.T, status int, answer string) *office {
	o := &office{status: status, answer: answer}
	o.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		o.asked, o.bodies = append(o.asked, r), append(o.bodies, string(body))
		w.WriteHeader(o.status)
		_, _ = io.WriteString(w, strings.ReplaceAll(o.answer, "%s", o.url))
	})
	return o
}

func (o *office) register(t *testing.T, p *authserver.Program) (*authserver.Registration, error) {
	return authserver.Register(t.Context(), newHTTP(t), o.url+"/register?tenant=7", p, none)
}

// sent is the last metadata that was sent.
func (o *office) sent(t *testing.T) map[string]any {
	var members map[string]any
	require.NoError(t, json.Unmarshal([]byte(o.bodies[len(o.bodies)-1]), &members))
	return members
}

// Shows R7591-2-2, R7591-2-4, R8252-8.4-1, O21-8.1.1-1, OIDCReg-2-1, MCP26-REG-4: what is said by default, and that it is said.
func TestANativeProgramRegisters_R8252_8_4_1(t *testing.T) {
	o := newOffice(t, 201, `{"client_id":"c1"}`)
	_, err := o.register(t, native())
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"client_name": "Tool", "redirect_uris": []any{"http://127.0.0.1:7/callback"}, "application_type": "native",
		"token_endpoint_auth_method": "none", "grant_types": []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"},
	}, o.sent(t))
}

// Shows R7591-3-1: open, or with an initial access token, which is not sent twice.
func TestTheRegistrationEndpoint_R7591_3_1(t *testing.T) {
	o := newOffice(t, 201, `{"client_id":"c1"}`)
	_, err := o.register(t, native())
	require.NoError(t, err)
	require.Equal(t, http.MethodPost, o.asked[0].Method)
	require.Equal(t, "/register?tenant=7", o.asked[0].URL.RequestURI())
	require.Equal(t, "application/json", o.asked[0].Header.Get("Content-Type"))
	require.Empty(t, o.asked[0].Header.Values("Authorization"))

	for _, status := range []int{401, 403} {
		o := newOffice(t, status, `{"error":"invalid_token","error_description":"no INITIAL here"}`)
		_, err = authserver.Register(t.Context(), newHTTP(t), o.url, native(), secret.New("INITIAL"))
		require.Len(t, o.asked, 1)
		require.Equal(t, "Bearer INITIAL", o.asked[0].Header.Get("Authorization"))
		require.Equal(t, status, requireFailure(t, err, authserver.Misconfigured).Status)
		require.ErrorContains(t, err, "initial access token")
		require.NotContains(t, err.Error(), "INITIAL")
	}
}

func TestWhatIsRegistered(t *testing.T) {
	o := newOffice(t, 201, `{"client_id":"c1"}`)
	t.Run("R7591-2-5", func(t *testing.T) {
		p := native()
		p.Extra = map[string]any{"software_id": "s", "contacts": []string{"a@h.example"}, "x": 7}
		made, err := o.register(t, p)
		require.NoError(t, err, "that it is not in the answer says nothing")
		require.Equal(t, "s", o.sent(t)["software_id"])
		require.Equal(t, []any{"a@h.example"}, o.sent(t)["contacts"])
		require.Equal(t, "c1", made.ID)
	})
	t.Run("R7591-2.2-1", func(t *testing.T) {
		p := native()
		p.Extra = map[string]any{"client_name#fr": "Outil"}
		_, err := o.register(t, p)
		require.NoError(t, err)
		require.Equal(t, "Outil", o.sent(t)["client_name#fr"])
	})
	t.Run("more of a program", func(t *testing.T) {
		p := native()
		p.URI, p.Method = "https://tool.example", authserver.MethodBasic
		_, err := o.register(t, p)
		require.NoError(t, err)
		require.Equal(t, "https://tool.example", o.sent(t)["client_uri"])
		require.Equal(t, "client_secret_basic", o.sent(t)["token_endpoint_auth_method"])
	})
	t.Run("a device", func(t *testing.T) {
		_, err := o.register(t, &authserver.Program{Name: "Box", GrantTypes: []string{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}})
		require.NoError(t, err)
		require.NotContains(t, o.sent(t), "redirect_uris")
		require.Equal(t, []any{}, o.sent(t)["response_types"])
	})
}

// What cannot be right is not sent.
func TestWhatIsNotRegistered(t *testing.T) {
	with := func(change func(*authserver.Program)) *authserver.Program {
		p := native()
		change(p)
		return p
	}
	for name, p := range map[string]*authserver.Program{
		"R7591-2-1: no redirect URI":                   {Name: "Tool"},
		"R7591-2-2: no name":                           with(func(p *authserver.Program) { p.Name = "" }),
		"R7591-2-3: keys and where they are":           with(func(p *authserver.Program) { p.Extra = map[string]any{"jwks": 1, "jwks_uri": "https://h.example"} }),
		"R7591-2.1-1: a refresh token from nowhere":    with(func(p *authserver.Program) { p.GrantTypes = []string{"refresh_token"} }),
		"R7591-2.1-1: a response of one's own":         with(func(p *authserver.Program) { p.Extra = map[string]any{"response_types": []string{"token"}} }),
		"a client_id of one's own":                     with(func(p *authserver.Program) { p.Extra = map[string]any{"client_id": "me"} }),
		"a secret of one's own":                        with(func(p *authserver.Program) { p.Extra = map[string]any{"client_secret": "me"} }),
		"what cannot be written":                       with(func(p *authserver.Program) { p.Extra = map[string]any{"x": func() {}} }),
		"R7591-5-2: plain http":                        with(func(p *authserver.Program) { p.RedirectURIs = []string{"http://h.example/cb"} }),
		"R7591-5-2: a script":                          with(func(p *authserver.Program) { p.RedirectURIs = []string{"javascript:alert(1)"} }),
		"R7591-5-2: a file":                            with(func(p *authserver.Program) { p.RedirectURIs = []string{"file:///tmp/x"} }),
		"R7591-5-2: a scheme that is nobody's":         with(func(p *authserver.Program) { p.RedirectURIs = []string{"tool:/cb"} }),
		"R7591-5-2: nowhere":                           with(func(p *authserver.Program) { p.RedirectURIs = []string{"urn:ietf:wg:oauth:2.0:oob"} }),
		"R7591-5-2: a fragment":                        with(func(p *authserver.Program) { p.RedirectURIs = []string{"https://h.example/cb#"} }),
		"R7591-5-2: relative":                          with(func(p *authserver.Program) { p.RedirectURIs = []string{"/cb"} }),
		"OIDCReg-2-1: a web server on this machine":    with(func(p *authserver.Program) { p.RedirectURIs = []string{"https://localhost/cb"} }),
		"OIDCReg-2-1: a web server and a program both": with(func(p *authserver.Program) { p.RedirectURIs = append(p.RedirectURIs, "https://h.example/cb") }),
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, 201, `{"client_id":"c1"}`)
			_, err := o.register(t, p)
			requireFailure(t, err, authserver.Misconfigured)
			require.ErrorContains(t, err, "nothing was sent")
			require.Empty(t, o.asked)
		})
	}
	hc := newHTTP(t)
	hc.Transport = unreachable(t)
	for _, address := range []string{"http://as.example/register", "javascript:alert(1)", "file:///etc/passwd", "/register", "https://u:pa55@as.example"} {
		_, err := authserver.Register(t.Context(), hc, address, native(), secret.New("INITIAL"))
		requireFailure(t, err, authserver.Misconfigured)
		require.NotContains(t, err.Error(), "pa55")
	}
}

// TestOIDCReg_2_1: the kind of program follows from where the browser comes back to. Shows R7591-5-2.
func TestOIDCReg_2_1(t *testing.T) {
	for redirect, want := range map[string]string{
		"http://127.0.0.1:7/callback": "native", "http://[::1]/callback": "native", "http://localhost:7/callback": "native",
		"com.example.tool:/callback": "native", "https://h.example/callback": "web", "https://h.example:8443/callback?x=1": "web",
	} {
		o := newOffice(t, 201, `{"client_id":"c1"}`)
		_, err := o.register(t, &authserver.Program{Name: "Tool", RedirectURIs: []string{redirect}})
		require.NoError(t, err)
		require.Equal(t, want, o.sent(t)["application_type"], redirect)
		require.Equal(t, []any{redirect}, o.sent(t)["redirect_uris"])
	}
}

// Shows R7591-3.2.1-1: what the client needs of the answer is kept, under 200 as under 201.
func TestR7591_3_2_1_1(t *testing.T) {
	for _, status := range []int{201, 200} {
		o := newOffice(t, status, `{"client_id":"c1","client_secret":"S3","client_id_issued_at":1700000000,"client_secret_expires_at":1900000000,
			"token_endpoint_auth_method":"client_secret_post","redirect_uris":["http://127.0.0.1:7/callback","http://[::1]:7/callback"],
			"grant_types":["authorization_code"],"response_types":["code"],"scope":"a b","registration_access_token":"R4",
			"registration_client_uri":"%s/register/c1?x=%2F","client_name":"Tool","policy":{"x":[1]}}`)
		made, err := o.register(t, native())
		require.NoError(t, err)
		require.Equal(t, &authserver.Registration{
			ID: "c1", Secret: secret.New("S3"), SecretExpires: time.Unix(1900000000, 0).UTC(), Method: authserver.MethodPost,
			RedirectURIs: []string{"http://127.0.0.1:7/callback", "http://[::1]:7/callback"}, Token: secret.New("R4"), URI: o.url + "/register/c1?x=%2F",
		}, made)
		shown := fmt.Sprintf("%v %+v %#v", made, *made, made)
		require.NotContains(t, shown, "S3")
		require.NotContains(t, shown, "R4")
	}
}

// Shows R7591-2-4: what an answer leaves out is as RFC 7591 has it.
func TestR7591_2_4(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   authserver.Method
	}{
		"with a secret": {`{"client_id":"c1","client_secret":"s"}`, authserver.MethodBasic},
		"without one":   {`{"client_id":"c1"}`, authserver.MethodNone},
		"nulls":         {`{"client_id":"c1","client_secret":null,"token_endpoint_auth_method":null,"grant_types":null,"redirect_uris":null}`, authserver.MethodNone},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := newOffice(t, 201, c.answer).register(t, native())
			require.NoError(t, err)
			require.Equal(t, c.want, made.Method)
		})
	}
}

// Shows R7591-3.2.1-2: what the server has changed counts, or is an error that names it; the useless registration is given back.
func TestR7591_3_2_1_2(t *testing.T) {
	for name, c := range map[string]struct {
		members string
		method  authserver.Method // "": it does not do
		says    string
	}{
		"as asked":                    {`"token_endpoint_auth_method":"none"`, authserver.MethodNone, ""},
		"a secret":                    {`"token_endpoint_auth_method":"client_secret_basic","client_secret":"s"`, authserver.MethodBasic, ""},
		"a secret in the body":        {`"token_endpoint_auth_method":"client_secret_post","client_secret":"s"`, authserver.MethodPost, ""},
		"more redirect URIs":          {`"redirect_uris":["https://h.example","http://127.0.0.1:7/callback"]`, authserver.MethodNone, ""},
		"a secret that is missing":    {`"token_endpoint_auth_method":"client_secret_basic"`, "", "client_secret_basic"},
		"a key that nobody has":       {`"token_endpoint_auth_method":"private_key_jwt"`, "", "private_key_jwt"},
		"an assertion under a secret": {`"token_endpoint_auth_method":"client_secret_jwt","client_secret":"of-more-than-enough-octets-to-sign"`, "", "client_secret_jwt"},
		"a certificate":               {`"token_endpoint_auth_method":"tls_client_auth"`, "", "tls_client_auth"},
		"a method that nobody knows":  {`"token_endpoint_auth_method":"dance"`, "", "unknown"},
		"another redirect URI":        {`"redirect_uris":["https://evil.example/cb"]`, "", "127.0.0.1"},
		"no redirect URI":             {`"redirect_uris":[]`, "", "127.0.0.1"},
		"a redirect without its path": {`"redirect_uris":["http://127.0.0.1:7"]`, "", "/callback"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, 201, `{"client_id":"c1","registration_access_token":"R4","registration_client_uri":"%s/c1",`+c.members+`}`)
			p := native()
			made, err := o.register(t, p)
			require.Equal(t, []string{"http://127.0.0.1:7/callback"}, p.RedirectURIs, "what was asked is the caller's")
			if c.method != "" {
				require.NoError(t, err)
				require.Equal(t, c.method, made.Method)
				require.Len(t, o.asked, 1)
				return
			}
			require.Nil(t, made)
			requireFailure(t, err, authserver.Misconfigured)
			require.ErrorContains(t, err, c.says)
			require.Len(t, o.asked, 2)
			require.Equal(t, "DELETE /c1", o.asked[1].Method+" "+o.asked[1].URL.Path)
		})
	}
}

// Shows R7591-3.2.1-3.
func TestR7591_3_2_1_3(t *testing.T) {
	for said, want := range map[string]time.Time{
		``: {}, `,"client_secret_expires_at":0`: {}, `,"client_secret_expires_at":-5`: {}, `,"client_secret_expires_at":"x"`: {},
		`,"client_secret_expires_at":1900000000`: time.Unix(1900000000, 0).UTC(),
	} {
		made, err := newOffice(t, 201, `{"client_id":"c1","client_secret":"s"`+said+`}`).register(t, native())
		require.NoError(t, err)
		require.Equal(t, want, made.SecretExpires, said)
	}
}

// Shows R7591-3.2.2-1, MCP26-REG-4: why a server refuses, and what to do.
func TestR7591_3_2_2_1(t *testing.T) {
	for code, advice := range map[string]string{
		"invalid_redirect_uri": "RedirectURL", "invalid_client_metadata": "register the client by hand",
		"invalid_software_statement": "software statement", "unapproved_software_statement": "software statement",
	} {
		o := newOffice(t, 400, `{"error":"`+code+`","error_description":"no \u001b[2J","unknown":[{}]}`)
		_, err := o.register(t, native())
		f := requireFailure(t, err, authserver.Misconfigured)
		require.Equal(t, code, f.Code)
		require.Equal(t, "no  [2J", f.Description)
		require.ErrorContains(t, err, advice)
		require.Len(t, o.asked, 1)
	}
	for status, want := range map[int]authserver.Outcome{
		429: authserver.NotProcessed, 503: authserver.NotProcessed, 500: authserver.MaybeProcessed, 302: authserver.Misconfigured, 404: authserver.Misconfigured,
	} {
		_, err := newOffice(t, status, "<html>").register(t, native())
		require.Equal(t, status, requireFailure(t, err, want).Status)
	}
}

// Whatever comes back, there is a client with an id, or a typed error.
func TestHostileRegistrations(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "a page": "<html>", "null": "null", "an array": `[{"client_id":"c1"}]`, "no client_id": `{"client_secret":"s"}`,
		"an empty client_id": `{"client_id":""}`, "a client_id in other letters": `{"Client_ID":"c1"}`, "a number": `{"client_id":7}`,
		"controls in the client_id": `{"client_id":"c\u001b[2J"}`, "a client_id twice": `{"client_id":"c1","client_id":"c2"}`,
		"redirects that are no list": `{"client_id":"c1","redirect_uris":"https://h.example"}`, "a method that is a list": `{"client_id":"c1","token_endpoint_auth_method":["none"]}`,
		"a secret that is an object": `{"client_id":"c1","client_secret":{}}`, "an error under 201": `{"client_id":"c1","error":"invalid_client_metadata"}`,
		"10 MB": `{"client_id":"` + strings.Repeat("c", 10<<20) + `"}`, "a long client_id": `{"client_id":"` + strings.Repeat("c", 5000) + `"}`,
		"cut short": `{"client_id":"c1"`,
	} {
		t.Run(name, func(t *testing.T) {
			made, err := newOffice(t, 201, answer).register(t, native())
			require.Nil(t, made)
			requireSober(t, err)
		})
	}
	t.Run("a redirect is not followed", func(t *testing.T) {
		s := newSite(t)
		s.pages["/register"] = moved(s.url + "/elsewhere")
		_, err := authserver.Register(t.Context(), newHTTP(t), s.url+"/register", native(), secret.New("INITIAL"))
		requireFailure(t, err, authserver.Misconfigured)
		require.Equal(t, []string{"/register"}, s.asked)
	})
	for name, members := range map[string]string{
		"a script":               `"registration_access_token":"R4","registration_client_uri":"javascript:alert(1)"`,
		"a file":                 `"registration_access_token":"R4","registration_client_uri":"file:///etc/passwd"`,
		"plain http":             `"registration_access_token":"R4","registration_client_uri":"http://h.example/c1"`,
		"a relative address":     `"registration_access_token":"R4","registration_client_uri":"/c1"`,
		"a token without a use":  `"registration_access_token":"R4"`,
		"an address and no more": `"registration_client_uri":"https://h.example/c1"`,
	} {
		t.Run("managed by "+name, func(t *testing.T) {
			made, err := newOffice(t, 201, `{"client_id":"c1",`+members+`}`).register(t, native())
			require.NoError(t, err, "it can be used all the same")
			require.Empty(t, made.URI)
			require.True(t, made.Token.IsEmpty())
			requireFailure(t, made.Delete(t.Context(), newHTTP(t)), authserver.Misconfigured)
		})
	}
	t.Run("over TLS nothing leads to this machine", func(t *testing.T) {
		c := canned(201, nil, `{"client_id":"c1","registration_access_token":"R4","registration_client_uri":"http://127.0.0.1:1/c1"}`)
		made, err := authserver.Register(t.Context(), c.HTTP, "https://as.example/register", native(), none)
		require.NoError(t, err)
		require.Empty(t, made.URI)
	})
	t.Run("no answer", func(t *testing.T) {
		broken := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, err := authserver.Register(t.Context(), newHTTP(t), broken, native(), none)
		requireFailure(t, err, authserver.MaybeProcessed)
		_, err = authserver.Register(t.Context(), newHTTP(t), "http://127.0.0.1:1", native(), none)
		requireFailure(t, err, authserver.NotProcessed)
	})
	t.Run("the token in the transport's own words", func(t *testing.T) {
		hc := authserver.NewHTTPClient(&http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
			return nil, errors.New("cannot send " + req.Header.Get("Authorization"))
		})})
		_, err := authserver.Register(t.Context(), hc, "https://as.example", native(), secret.New("INITIAL"))
		requireFailure(t, err, authserver.NotProcessed)
		require.NotContains(t, err.Error(), "INITIAL")
	})
}

// managed is a registration of an office.
func managed(o *office) *authserver.Registration {
	return &authserver.Registration{ID: "c1", Token: secret.New("R4"), URI: o.url + "/register//%63?b=2&a=1&"}
}

// Shows R7592-2-1, R7592-2.3-1, R7592-B-1.
func TestRegistrationsAreDeleted_R7592_2_3_1(t *testing.T) {
	o := newOffice(t, 204, "")
	require.NoError(t, managed(o).Delete(t.Context(), newHTTP(t)))
	require.Len(t, o.asked, 1)
	require.Equal(t, http.MethodDelete, o.asked[0].Method)
	require.Equal(t, "/register//%63?b=2&a=1&", o.asked[0].RequestURI, "as it was given")
	require.Equal(t, []string{"Bearer R4"}, o.asked[0].Header.Values("Authorization"))
	require.Empty(t, o.bodies[0])

	for _, status := range []int{400, 401, 403, 404, 405, 410, 429, 500, 503} {
		err := managed(newOffice(t, status, "")).Delete(t.Context(), newHTTP(t))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "R4")
	}
	requireFailure(t, managed(&office{url: "http://127.0.0.1:1"}).Delete(t.Context(), newHTTP(t)), authserver.NotProcessed)
}

// Shows CIMD-3-1, CIMD-3-2.
func TestClientIDDocuments_CIMD_3(t *testing.T) {
	for id, want := range map[string]string{
		"https://tool.example/client.json":       "",
		"https://tool.example:8443/a/b":          "",
		"https://tool.example/..hidden/x.y":      "",
		"http://tool.example/client.json":        "https",
		"http://127.0.0.1/client.json":           "https",
		"https:///client.json":                   "https",
		"tool.example/client.json":               "https",
		"https://u@tool.example/client.json":     "credentials",
		"https://tool.example/client.json#":      "fragment",
		"https://tool.example/client.json#x":     "fragment",
		"https://tool.example/client.json?x=1":   "query",
		"https://tool.example/client.json?":      "query",
		"https://tool.example":                   "path",
		"https://tool.example/":                  "path",
		"https://tool.example/a/../client.json":  "dot segment",
		"https://tool.example/./client.json":     "dot segment",
		"https://tool.example/a/..":              "dot segment",
		"https://tool.example/a/%2e%2E/x":        "dot segment",
		"javascript:alert(1)":                    "https",
		"https://tool.example/client.json\u0000": "https",
	} {
		err := authserver.CheckClientIDDocument(id)
		if want == "" {
			require.NoError(t, err, id)
			continue
		}
		require.ErrorContains(t, err, want, id)
	}
	for members, want := range map[string]bool{``: false, `,"client_id_metadata_document_supported":true`: true, `,"client_id_metadata_document_supported":false`: false} {
		s := newSite(t)
		s.pages[oauthPath] = page(200, strings.TrimSuffix(document(s.url), "}")+members+`,"registration_endpoint":"https://as.example/r","scopes_supported":["a"]}`)
		m, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
		require.NoError(t, err)
		require.Equal(t, want, m.ClientIDDocuments, members)
		require.Equal(t, "https://as.example/r", m.RegistrationEndpoint)
		require.Equal(t, []string{"a"}, m.Scopes)
	}
}

// Everybody can read a document: a client that it describes has no secret.
func TestNoDocumentForASecret(t *testing.T) {
	for method, want := range map[authserver.Method]bool{
		"": true, authserver.MethodNone: true, authserver.MethodKeyJWT: true,
		authserver.MethodBasic: false, authserver.MethodPost: false, authserver.MethodSecretJWT: false,
	} {
		p := native()
		p.Method = method
		text, err := p.Document("https://tool.example/client.json")
		require.Equal(t, want, err == nil, "%s: %v", method, err)
		require.Equal(t, want, text != nil, method)
	}
}

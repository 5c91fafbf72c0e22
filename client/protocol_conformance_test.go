package client_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"go/ast"
	"go/parser"
	"go/printer"
	gotoken "go/token"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// What was granted, and not what was asked for, is what the program learns.
func TestR6749_3_3_2(t *testing.T) {
	d := newOffice()
	d.answer = func(int, url.Values) (int, string) {
		return http.StatusOK, `{"access_token":"AT","token_type":"Bearer","expires_in":3600,"scope":"a c"}`
	}
	s := d.web(t, nil)
	p, asked := begin(t, s, nil)
	require.Equal(t, "b a", asked.Get("scope"))
	require.NoError(t, s.Finish(t.Context(), p, back(asked)))
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c"}, status.Scopes)
	got, err := s.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a c", got.Extra("scope"))
}

// Who names no scope asks for none, and hears of it once if the server wants one.
func TestR6749_3_3_3(t *testing.T) {
	d := newOffice()
	d.metadata["scopes_supported"] = []string{"openid", "read"}
	d.answer = func(int, url.Values) (int, string) { return http.StatusBadRequest, `{"error":"invalid_scope"}` }
	s := d.web(t, func(c *client.Config) { c.Scopes, c.ClientSecret, c.Grant = nil, "hush", client.ClientCredentials{} })
	for range 2 {
		_, err := s.Token(t.Context())
		require.Equal(t, "invalid_scope", requireError(t, err).Code)
	}
	require.Len(t, d.letters(), 1)
	require.NotContains(t, d.letters()[0].form, "scope")
}

// Shows R6749-10.4-1, MCP26-BIND-1. A refresh token of one issuer is not shown to another, whatever the configuration
// says later.
func TestAnotherIssuerHasNoGrant(t *testing.T) {
	store := tokenstore.NewMemory()
	one, two := newOffice(), newOffice()
	two.metadata["issuer"], two.metadata["token_endpoint"] = "https://two.test", "https://two.test/token"
	s := one.session(t, func(c *client.Config) { c.Store = store })
	changed := open(t, two.config(func(c *client.Config) { c.Store, c.Issuer = store, "https://two.test" })).Session("alice")
	_, err := changed.Token(t.Context())
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.NoError(t, changed.Logout(t.Context()))
	require.Empty(t, two.letters())
	require.Equal(t, "AT1", token(t, s), "where it belongs, it is as good as before")
	require.Equal(t, "RT", one.letters()[0].form.Get("refresh_token"))
}

// Shows R8252-7.1-1, R8252-7.2-1.
func TestRedirectURLsOfNativePrograms(t *testing.T) {
	for address, wrong := range map[string]bool{
		"com.example.app:/callback": false, "https://app.example.com/callback": false, "urn:ietf:wg:oauth:2.0:oob": false,
		"myapp:/callback": true, "myapp://callback": true, "javascript:alert(1)": true,
	} {
		config := good()
		config.RedirectURL = address
		_, err := client.New(config)
		if wrong {
			requireConfigError(t, err, "Config.RedirectURL")
			continue
		}
		require.NoError(t, err, address)
	}
}

// Some servers give a secret to programs that cannot keep one.
func TestR8252_8_5_1(t *testing.T) {
	d := newOffice()
	s := open(t, d.config(func(c *client.Config) { c.ClientSecret = "shipped to everybody" })).Session("alice")
	arrive := func(address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		_, err = visit(u.Query().Get("redirect_uri") + "?" + back(u.Query()).Encode())
		return err
	}
	require.NoError(t, s.Login(limit(t), client.Browser{Open: arrive}))
	require.Equal(t, "client_secret_basic", d.letters()[0].method())
	require.NotEmpty(t, d.letters()[0].form.Get("code_verifier"), "it gets PKCE all the same")
}

// The person reads the code; nobody else does.
func TestR8628_5_5_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &deviceServer{
			authorization: authorization(`,"expires_in":60`),
			script:        []reaction{says(400, pending), says(400, `{"error":"access_denied","error_description":"secret-device-code for WDJB-MJHT"}`), says(200, tokens)},
		}
		var log bytes.Buffer
		config := server.config()
		config.OnEvent = client.LogEvents(slog.New(slog.NewTextHandler(&log, nil)))
		c := open(t, config)
		var read string
		flow := client.Device{Prompt: func(_ context.Context, v client.Verification) error {
			read = v.UserCode
			return nil
		}}
		err := c.Session("alice").Login(t.Context(), flow)
		require.Equal(t, "WDJB-MJHT", read)
		require.NoError(t, c.Session("alice").Login(t.Context(), flow))
		require.NotContains(t, err.Error(), "secret-device-code")
		require.NoError(t, c.Close(t.Context()))
		require.NotEmpty(t, log.String())
		require.NotContains(t, log.String(), "secret-device-code")
		require.NotContains(t, log.String(), "WDJB-MJHT")
	})
}

// Shows R9470-2-1, O21-1.4-1. What an access token seems to say about itself is not read.
func TestAccessTokensAreOpaque(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
		looks := part(`{"alg":"none"}`) + "." + part(`{"exp":1,"acr":"0","scope":"nothing"}`) + "."
		for _, access := range []string{looks, "not a JWT at all"[:3], "a.b.c"} {
			d := newDesk()
			s := open(t, d.config(nil)).Session("alice")
			require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{AccessToken: access, RefreshToken: "RT", Expiry: time.Now().Add(time.Hour)}))
			time.Sleep(30 * time.Minute)
			require.Equal(t, access, token(t, s))
			require.Empty(t, d.letters())
		}
	})
}

// What a resource asks for goes into the next login (RFC 9470 §4), and a server that cannot says so.
func TestR9470_4_1(t *testing.T) {
	resp := &http.Response{Header: http.Header{"Www-Authenticate": {
		`Bearer error="insufficient_user_authentication", acr_values="gold silver", max_age=5, scope="pay"`,
	}}}
	wanted := transport.Challenges(resp)[0].Params
	d := newOffice()
	s := d.web(t, func(c *client.Config) { c.Scopes = append(c.Scopes, strings.Fields(wanted["scope"])...) })
	p, asked := begin(t, s, url.Values{"acr_values": {wanted["acr_values"]}, "max_age": {wanted["max_age"]}})
	require.Equal(t, []string{"gold silver", "5", "b a pay"}, []string{asked.Get("acr_values"), asked.Get("max_age"), asked.Get("scope")})
	t.Run("R9470-5-1", func(t *testing.T) {
		refusal := url.Values{"error": {"unmet_authentication_requirements"}, "state": {asked.Get("state")}}
		require.Equal(t, "unmet_authentication_requirements", requireError(t, s.Finish(t.Context(), p, refusal)).Code)
		require.Empty(t, d.letters())
	})
}

// Shows OIDC-3.1.2.1-1, OIDC-3.1.2.1-2. Where openid is asked for it is asked for once, and with a nonce.
func TestNonces(t *testing.T) {
	s := newOffice().web(t, func(c *client.Config) { c.Scopes = []string{"openid", "email", "openid"} })
	seen := map[string]bool{}
	for range 100 {
		_, asked := begin(t, s, nil)
		require.Equal(t, "openid email", asked.Get("scope"))
		require.Regexp(t, regexp.MustCompile(`^[A-Z2-7]{26,}$`), asked.Get("nonce"), "130 bits of base32")
		require.NotEqual(t, asked.Get("state"), asked.Get("nonce"))
		seen[asked.Get("nonce")] = true
	}
	require.Len(t, seen, 100)
	_, asked := begin(t, newOffice().web(t, nil), nil)
	require.NotContains(t, asked, "nonce")
}

// Shows OIDC-11-2, MCP26-RT-2. A server that gives no refresh token gives a grant that ends, and no error before.
func TestNoRefreshTokenIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newOffice().web(t, func(c *client.Config) { c.Scopes = []string{"offline_access"} })
		p, asked := begin(t, s, nil)
		require.NoError(t, s.Finish(t.Context(), p, back(asked)))
		time.Sleep(50 * time.Minute)
		require.Equal(t, "AT1", token(t, s))
		time.Sleep(time.Hour)
		_, err := s.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
}

// TestOIDC_16_12_1 reads the source: what is secret is compared with nothing but "" by an operator whose time depends on
// where two texts differ, and the state of a callback by subtle.ConstantTimeCompare.
func TestOIDC_16_12_1(t *testing.T) {
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	compares := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		files := gotoken.NewFileSet()
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		source := func(n ast.Node) string {
			var text strings.Builder
			require.NoError(t, printer.Fprint(&text, files, n))
			return text.String()
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == gotoken.EQL || n.Op == gotoken.NEQ {
					for _, side := range [][2]ast.Expr{{n.X, n.Y}, {n.Y, n.X}} {
						secret := strings.HasSuffix(source(side[0]), ".Reveal()")
						require.False(t, secret && source(side[1]) != `""`, "%s: %s", files.Position(n.Pos()), source(n))
					}
				}
			case *ast.CallExpr:
				if source(n.Fun) == "subtle.ConstantTimeCompare" {
					compares++
				}
			}
			return true
		})
	}
	require.GreaterOrEqual(t, compares, 2, "of the state, and of what an id token holds")
}

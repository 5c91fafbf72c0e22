package authserver_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// requests are all kinds of them.
var requests = map[string]func(ctx context.Context, hc *http.Client) error{
	"a token": func(ctx context.Context, hc *http.Client) error {
		_, err := (&authserver.Client{HTTP: hc, ID: "app", Method: authserver.MethodNone}).Token(ctx, endpoint, refresh("RT"), nil)
		return err
	},
	"metadata": func(ctx context.Context, hc *http.Client) error {
		_, err := authserver.Discover(ctx, hc, "https://as.example")
		return err
	},
	"keys": func(ctx context.Context, hc *http.Client) error {
		_, err := authserver.Keys(ctx, hc, "https://as.example/keys")
		return err
	},
	"a resource": func(ctx context.Context, hc *http.Client) error {
		_, err := authserver.Probe(ctx, hc, "https://api.example")
		return err
	},
	"a registration": func(ctx context.Context, hc *http.Client) error {
		_, err := authserver.Register(ctx, hc, "https://as.example/register", native(), secret.New("INITIAL"))
		return err
	},
}

// lent is a body that counts what is done with it.
type lent struct {
	io.Reader
	read   int
	closed int
}

func (l *lent) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	l.read += n
	return n, err
}

func (l *lent) Close() error {
	l.closed++
	return nil
}

// endless is white space, in which no JSON begins.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// TestBodiesAreClosed on every path: one that is not keeps its connection for ever.
func TestBodiesAreClosed(t *testing.T) {
	for kind, ask := range requests {
		for name, respond := range map[string]func() *http.Response{
			"nothing": func() *http.Response {
				return &http.Response{StatusCode: http.StatusOK, Body: &lent{Reader: strings.NewReader("")}}
			},
			"a refusal": func() *http.Response {
				return &http.Response{StatusCode: http.StatusForbidden, Body: &lent{Reader: strings.NewReader("x")}}
			},
			"no end": func() *http.Response {
				return &http.Response{StatusCode: http.StatusOK, Body: &lent{Reader: io.LimitReader(endless{}, 8<<20)}}
			},
			"a redirect": func() *http.Response {
				return &http.Response{StatusCode: http.StatusFound, Body: &lent{Reader: strings.NewReader("")}}
			},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				var bodies []*lent
				hc := authserver.NewHTTPClient(&http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
					resp := respond()
					resp.Header, resp.Request = http.Header{}, req
					bodies = append(bodies, resp.Body.(*lent))
					return resp, nil
				})})
				_ = ask(t.Context(), hc)
				require.NotEmpty(t, bodies)
				for _, body := range bodies {
					require.NotZero(t, body.closed)
					require.LessOrEqual(t, body.read, 1<<20+4096, "an answer without an end is not read to it")
				}
			})
		}
	}
}

// TestTheHTTPClientsTimeHolds for every request, also where net/http's own Client is not asked.
func TestTheHTTPClientsTimeHolds(t *testing.T) {
	for kind, ask := range requests {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hc := authserver.NewHTTPClient(&http.Client{Timeout: 3 * time.Second, Transport: tripper(func(req *http.Request) (*http.Response, error) {
					<-req.Context().Done()
					return nil, req.Context().Err()
				})})
				begun := time.Now()
				require.Error(t, ask(t.Context(), hc))
				require.LessOrEqual(t, time.Since(begun), 2*3*time.Second, "for each address that is asked")
			})
		})
	}
}

// TestKeysAreNotFetchedInTheClear: a redirect would have a neighbour on this machine say who has signed.
func TestKeysAreNotFetchedInTheClear(t *testing.T) {
	for _, location := range []string{"http://127.0.0.1/keys", "http://as.example/keys"} {
		asked := 0
		hc := authserver.NewHTTPClient(&http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
			asked++
			return &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {location}}, Body: http.NoBody, Request: req}, nil
		})})
		_, err := authserver.Keys(t.Context(), hc, "https://as.example/keys")
		require.Error(t, err)
		require.Equal(t, 1, asked, location)
	}
}

// TestScrubbedShowsNoCredentials_I10: what net/http quotes of a malformed answer may be what was sent.
func TestScrubbedShowsNoCredentials_I10(t *testing.T) {
	token, proof := secretOf("token"), "e30.eyJqdGkiOiJ"+sentinel+"In0.c2ln"
	for name, base := range map[string]func(said string) (*http.Response, error){
		"an error": func(said string) (*http.Response, error) { return nil, errors.New("malformed: " + said) },
		"a URL's": func(said string) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: "https://as.example/?" + said, Err: leak{said}}
		},
		"a body": func(said string) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(broken{leak{said}})}, nil
		},
	} {
		for _, said := range []string{token, proof, "DPoP " + token, url.QueryEscape(token)} {
			t.Run(name, func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://as.example/me", nil)
				require.NoError(t, err)
				req.Header.Set("Authorization", "DPoP "+token)
				req.Header.Set("DPoP", proof)
				resp, err := authserver.Scrubbed(tripper(func(*http.Request) (*http.Response, error) { return base(said) })).RoundTrip(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					require.NoError(t, resp.Body.Close())
				}
				requireNothingShown(t, err)
			})
		}
	}
}

// TestPushedRequestsThatCannotBeSentOn: the browser would be led elsewhere, or nowhere.
func TestPushedRequestsThatCannotBeSentOn(t *testing.T) {
	for name, body := range map[string]string{
		"none":                     `{"expires_in":60}`,
		"not a string":             `{"request_uri":7}`,
		"controls":                 `{"request_uri":"urn:a\u001b[2J"}`,
		"a line end":               `{"request_uri":"urn:a\nb"}`,
		"without an end":           `{"request_uri":"urn:` + strings.Repeat("a", 5000) + `"}`,
		"beside an error":          `{"request_uri":"urn:a","error":"invalid_request"}`,
		"twice":                    `{"request_uri":"urn:a","request_uri":"urn:b"}`,
		"behind another's letters": `{"Request_URI":"urn:a"}`,
	} {
		t.Run(name, func(t *testing.T) {
			pushed, err := canned(201, nil, body).Push(t.Context(), endpoint, url.Values{"scope": {"a"}})
			require.Error(t, err)
			require.Nil(t, pushed)
		})
	}
	pushed, err := canned(201, nil, `{"request_uri":"urn:a","expires_in":60}`).Push(t.Context(), endpoint, url.Values{"scope": {"a"}})
	require.NoError(t, err)
	require.Equal(t, &authserver.Pushed{RequestURI: "urn:a", Lifetime: time.Minute}, pushed)
}

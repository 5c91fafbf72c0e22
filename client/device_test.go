package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
)

const (
	pending  = `{"error":"authorization_pending"}`
	slowDown = `{"error":"slow_down"}`
	tokens   = `{"access_token":"AT1","refresh_token":"RT1","token_type":"Bearer","expires_in":3600}`
)

// reaction is what a deviceServer does with one poll.
type reaction func(ctx context.Context) (*http.Response, error)

func says(code int, body string) reaction {
	return func(context.Context) (*http.Response, error) { return answer(code, nil, body), nil }
}

func saysAfter(code int, retryAfter string) reaction {
	return func(context.Context) (*http.Response, error) {
		return answer(code, http.Header{"Retry-After": {retryAfter}}, ""), nil
	}
}

func resets(context.Context) (*http.Response, error) { return nil, errReset }

func hangs(ctx context.Context) (*http.Response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// deviceServer answers device authorization with a fixed answer and polls from a script whose last
// reaction repeats. It notes the pause before every poll, from the answer before it.
type deviceServer struct {
	authorization string
	script        []reaction

	mu       sync.Mutex
	answered time.Time
	pauses   []time.Duration
	forms    map[string]url.Values // by path, the last one
}

func (d *deviceServer) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	react := d.note(req.URL.Path, form)
	resp, err := react(req.Context())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answered = time.Now()
	return resp, err
}

func (d *deviceServer) note(path string, form url.Values) reaction {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.forms == nil {
		d.forms = map[string]url.Values{}
	}
	d.forms[path] = form
	if path == "/device" {
		return says(200, d.authorization)
	}
	d.pauses = append(d.pauses, time.Since(d.answered))
	react := d.script[0]
	if len(d.script) > 1 {
		d.script = d.script[1:]
	}
	return react
}

func (d *deviceServer) config() client.Config {
	return client.Config{
		Endpoint: oauth2.Endpoint{
			TokenURL: "https://as.test/token", DeviceAuthURL: "https://as.test/device",
		},
		ClientID:         "tv",
		Scopes:           []string{"profile", "email"},
		AuthServerClient: &http.Client{Transport: d},
	}
}

// authorization is an answer of the device authorization endpoint with further members.
func authorization(members string) string {
	return `{"device_code":"secret-device-code","user_code":"WDJB-MJHT","verification_uri":"https://as.test/activate"` + members + `}`
}

func shown(context.Context, client.Verification) error { return nil }

func seconds(n ...int) []time.Duration {
	var all []time.Duration
	for _, s := range n {
		all = append(all, time.Duration(s)*time.Second)
	}
	return all
}

// Shows R8628-3.2-2, R8628-3.5-1, R8628-3.5-2, R8628-3.5-3, R8628-3.5-6.
func TestDevicePollsAsOftenAsTheServerAllows(t *testing.T) {
	expires := `,"expires_in":1800`
	for _, test := range []struct {
		name          string
		authorization string
		script        []reaction
		pauses        []time.Duration
	}{
		{"no interval", expires, []reaction{says(400, pending), says(400, pending), says(200, tokens)}, seconds(5, 5, 5)},
		{"an interval", expires + `,"interval":2`, []reaction{says(400, pending), says(200, tokens)}, seconds(2, 2)},
		{"an interval of 0", expires + `,"interval":0`, []reaction{says(400, pending), says(200, tokens)}, seconds(5, 5)},
		{"slow_down is kept", expires, []reaction{says(400, slowDown), says(400, pending), says(400, slowDown), says(400, pending), says(200, tokens)}, seconds(5, 10, 10, 15, 15)},
		{"slow_down under 429", expires, []reaction{says(429, slowDown), says(200, tokens)}, seconds(5, 10)},
		{"slow_down under 200", expires, []reaction{says(200, slowDown), says(200, tokens)}, seconds(5, 10)},
		{"pending under 428", expires, []reaction{says(428, pending), says(200, tokens)}, seconds(5, 5)},
		{"broken connections back off", expires, []reaction{resets, resets, resets, says(400, pending), says(200, tokens)}, seconds(5, 10, 20, 40, 5)},
		{"backing off has a bound", expires, []reaction{resets, resets, resets, resets, resets, says(200, tokens)}, seconds(5, 10, 20, 40, 60, 60)},
		{"time-outs back off", expires, []reaction{hangs, hangs, says(200, tokens)}, seconds(5, 10, 20)},
		{"a server in trouble", expires, []reaction{says(500, ""), says(503, "<html>"), says(200, tokens)}, seconds(5, 10, 20)},
		{"Retry-After", expires, []reaction{saysAfter(503, "40"), says(400, pending), says(200, tokens)}, seconds(5, 40, 5)},
		{"a firewall's page", expires, []reaction{says(403, "<html>"), says(200, tokens)}, seconds(5, 10)},
		{"slow_down and broken connections", expires, []reaction{says(400, slowDown), resets, says(400, pending), says(200, tokens)}, seconds(5, 10, 20, 10)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &deviceServer{authorization: authorization(test.authorization), script: test.script}
				session := open(t, server.config()).Session("alice")
				require.NoError(t, session.Login(t.Context(), client.Device{Prompt: shown}))
				require.Equal(t, test.pauses, server.pauses)
				got, err := session.Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, "AT1", got.AccessToken)
			})
		})
	}
}

// Shows R8628-3.1-2, R8628-3.5-4, R8628-3.5-5.
func TestDeviceEndsByTheServersWord(t *testing.T) {
	for _, test := range []struct {
		name   string
		last   reaction
		code   string
		status int
	}{
		{"access_denied", says(400, `{"error":"access_denied"}`), "access_denied", 400},
		{"access_denied under 403", says(403, `{"error":"access_denied"}`), "access_denied", 403},
		{"access_denied under 200", says(200, `{"error":"access_denied"}`), "access_denied", 200},
		{"access_denied under 500", says(500, `{"error":"access_denied"}`), "access_denied", 500},
		{"expired_token", says(400, `{"error":"expired_token"}`), "expired_token", 400},
		{"invalid_grant", says(400, `{"error":"invalid_grant"}`), "invalid_grant", 400},
		{"invalid_client", says(401, `{"error":"invalid_client"}`), "invalid_client", 401},
		{"a code of its own", says(400, `{"error":"on_holiday","error_description":"secret-device-code is resting"}`), "on_holiday", 400},
		{"a redirect", says(302, ""), "", 302},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &deviceServer{authorization: authorization(`,"expires_in":1800`), script: []reaction{says(400, pending), test.last, says(200, tokens)}}
				session := open(t, server.config()).Session("alice")
				err := session.Login(t.Context(), client.Device{Prompt: shown})
				var e *client.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, test.code, e.Code)
				require.Equal(t, test.status, e.StatusCode)
				require.Len(t, server.pauses, 2, "it was asked again after its refusal")
				require.NotContains(t, err.Error(), "secret-device-code")
				_, err = session.Token(t.Context())
				require.ErrorIs(t, err, client.ErrLoginRequired)
			})
		})
	}
}

// Shows R8628-3.5-7.
func TestDeviceEndsWithTheCodesTime(t *testing.T) {
	for name, last := range map[string]reaction{"pending": says(400, pending), "unreachable": resets, "silent": hangs} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &deviceServer{authorization: authorization(`,"expires_in":63`), script: []reaction{last}}
				session := open(t, server.config()).Session("alice")
				begun := time.Now()
				err := session.Login(t.Context(), client.Device{Prompt: shown})
				var e *client.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, "expired_token", e.Code)
				require.GreaterOrEqual(t, time.Since(begun), 63*time.Second)
				require.Less(t, time.Since(begun), 94*time.Second, "a poll's own time-out late at most")
				polls := len(server.pauses)
				time.Sleep(time.Hour)
				require.Len(t, server.pauses, polls, "it goes on")
			})
		})
	}
}

func TestDeviceEndsWithItsCaller(t *testing.T) {
	for name, react := range map[string]reaction{"between polls": says(400, pending), "during a poll": hangs} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &deviceServer{authorization: authorization(`,"expires_in":1800`), script: []reaction{react}}
				session := open(t, server.config()).Session("alice")
				ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
				defer cancel()
				begun := time.Now()
				require.ErrorIs(t, session.Login(ctx, client.Device{Prompt: shown}), context.DeadlineExceeded)
				require.Equal(t, 7*time.Second, time.Since(begun))
			})
		})
		t.Run(name+", by Close", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &deviceServer{authorization: authorization(`,"expires_in":1800`), script: []reaction{react}}
				c := open(t, server.config())
				time.AfterFunc(7*time.Second, func() { _ = c.Close(context.Background()) })
				begun := time.Now()
				require.ErrorIs(t, c.Session("alice").Login(t.Context(), client.Device{Prompt: shown}), client.ErrClosed)
				require.Equal(t, 7*time.Second, time.Since(begun))
			})
		})
	}
}

// Shows R8628-3.1-1, R8628-3.3-1, R8628-3.3.1-1, R8628-3.3.1-2, R8628-3.4-1, R8628-5.4-1, R8628-5.6-1.
func TestDeviceRequestsAndPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &deviceServer{
			authorization: authorization(`,"expires_in":600,"verification_uri_complete":"https://as.test/activate?user_code=WDJB-MJHT"`),
			script:        []reaction{says(200, tokens)},
		}
		session := open(t, server.config()).Session("alice")
		var got client.Verification
		prompt := func(_ context.Context, v client.Verification) error {
			got = v
			return nil
		}
		expiry := time.Now().Add(10 * time.Minute)
		require.NoError(t, session.Login(t.Context(), client.Device{Prompt: prompt, Params: url.Values{"audience": {"api"}}}))
		require.True(t, got.Expiry.Equal(expiry), "%v is not %v", got.Expiry, expiry)
		got.Expiry = time.Time{}
		require.Equal(t, client.Verification{
			UserCode: "WDJB-MJHT", URI: "https://as.test/activate", URIComplete: "https://as.test/activate?user_code=WDJB-MJHT",
		}, got)
		require.Equal(t, url.Values{"client_id": {"tv"}, "scope": {"profile email"}, "audience": {"api"}}, server.forms["/device"])
		require.Equal(t, url.Values{
			"client_id": {"tv"}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {"secret-device-code"},
		}, server.forms["/token"])
		status, err := session.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"profile", "email"}, status.Scopes)
	})
}

func TestDeviceDoesNotBegin(t *testing.T) {
	errScreen := errors.New("the screen is off")
	dark := func(context.Context, client.Verification) error { return errScreen }
	for _, test := range []struct {
		name          string
		flow          client.Device
		authorization string
		change        func(*client.Config)
		check         func(t *testing.T, err error)
	}{
		{"without a Prompt", client.Device{}, authorization(""), nil, isConfigError("Device.Prompt")},
		{"with a parameter of ours", client.Device{Prompt: shown, Params: url.Values{"scope": {"x"}}}, authorization(""), nil, isConfigError("Device.Params")},
		{"without an endpoint", client.Device{Prompt: shown}, authorization(""), func(c *client.Config) { c.Endpoint.DeviceAuthURL = "" }, isConfigError("Config.Endpoint.DeviceAuthURL")},
		{"when the code cannot be shown", client.Device{Prompt: dark}, authorization(""), nil, func(t *testing.T, err error) { require.ErrorIs(t, err, errScreen) }},
		{"with a verification address in clear", client.Device{Prompt: dark}, strings.Replace(authorization(""), "https", "http", 1), nil, func(t *testing.T, err error) {
			require.Error(t, err)
			require.NotErrorIs(t, err, errScreen, "the address was shown")
		}},
		{"without a user code", client.Device{Prompt: dark}, `{"device_code":"x","verification_uri":"https://as.test/"}`, nil, func(t *testing.T, err error) {
			require.Error(t, err)
			require.NotErrorIs(t, err, errScreen, "it was shown")
		}},
		{"when the server refuses", client.Device{Prompt: dark}, `{"error":"unauthorized_client"}`, nil, func(t *testing.T, err error) {
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, "unauthorized_client", e.Code)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &deviceServer{authorization: test.authorization, script: []reaction{says(200, tokens)}}
				config := server.config()
				if test.change != nil {
					test.change(&config)
				}
				test.check(t, open(t, config).Session("alice").Login(t.Context(), test.flow))
				require.Empty(t, server.pauses, "the token endpoint was asked")
			})
		})
	}
}

func isConfigError(field string) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		var e *client.ConfigError
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field)
	}
}

// A program on a screen without a keyboard.
func ExampleDevice() {
	c, err := client.New(client.Config{
		Issuer:   "https://accounts.example.com",
		ClientID: "my-television",
	})
	if err != nil {
		log.Fatal(err)
	}
	show := func(_ context.Context, v client.Verification) error {
		fmt.Printf("On your telephone, open %s and enter %s\n", v.URI, v.UserCode)
		return nil
	}
	if err := c.Session("alice").Login(context.Background(), client.Device{Prompt: show}); err != nil {
		log.Fatal(err)
	}
}

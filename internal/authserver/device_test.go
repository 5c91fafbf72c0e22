package authserver_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// deviceAnswer is a device authorization answer with some members changed; nil removes one.
func deviceAnswer(t *testing.T, changed map[string]any) string {
	members := map[string]any{
		"device_code": "DC", "user_code": "WDJB-MJHT", "verification_uri": "https://as.example/device", "expires_in": 600, "interval": 7,
	}
	maps.Copy(members, changed)
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	data, err := json.Marshal(members)
	require.NoError(t, err)
	return string(data)
}

// Shows R8628-3.1-1.
func TestAuthorizeDevice_R8628_3_1(t *testing.T) {
	for _, c := range []struct {
		name   string
		method authserver.Method
		form   url.Values
		want   url.Values
	}{
		{"public", authserver.MethodNone, url.Values{"scope": {"a b"}}, url.Values{"scope": {"a b"}, "client_id": {"app"}}},
		{"basic, and an empty form", authserver.MethodBasic, nil, url.Values{}},
		{"post", authserver.MethodPost, nil, url.Values{"client_id": {"app"}, "client_secret": {"s"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []seen
			address := serve(t, record(t, &got))
			client := authserver.Client{HTTP: newHTTP(t), ID: "app", Secret: secret.New("s"), Method: c.method}
			_, err := client.AuthorizeDevice(t.Context(), address, c.form)
			requireFailure(t, err, authserver.MaybeProcessed) // a token answer is none of these
			require.Len(t, got, 1)
			require.Equal(t, "POST", got[0].method)
			require.Equal(t, c.want, got[0].form)
			require.Equal(t, c.method == authserver.MethodBasic, got[0].header.Get("Authorization") != "")
		})
	}
}

// Shows R8628-3.2-1, R8628-3.2-2.
func TestDevice_R8628_3_2(t *testing.T) {
	whole := authserver.Device{
		DeviceCode: secret.New("DC"), UserCode: "WDJB-MJHT", VerificationURI: "https://as.example/device", Lifetime: 10 * time.Minute, Interval: 7 * time.Second,
	}
	for _, c := range []struct {
		name    string
		changed map[string]any
		want    func(*authserver.Device) // nil: it is refused
	}{
		{"as the RFC has it", nil, func(*authserver.Device) {}},
		{"Hydra's stray member", map[string]any{"Header": []any{}}, func(*authserver.Device) {}},
		{"no interval", map[string]any{"interval": nil}, func(d *authserver.Device) { d.Interval = 5 * time.Second }},
		{"interval 0", map[string]any{"interval": 0}, func(d *authserver.Device) { d.Interval = 5 * time.Second }},
		{"a negative interval", map[string]any{"interval": -3}, func(d *authserver.Device) { d.Interval = 5 * time.Second }},
		{"an interval in a string", map[string]any{"interval": "9"}, func(d *authserver.Device) { d.Interval = 9 * time.Second }},
		{"an interval beyond measure", map[string]any{"interval": 1e12}, func(d *authserver.Device) { d.Interval = time.Hour }},
		{"no expires_in", map[string]any{"expires_in": nil}, func(d *authserver.Device) { d.Lifetime = 30 * time.Minute }},
		{"Google", map[string]any{"verification_uri": nil, "verification_url": "https://as.example/g"}, func(d *authserver.Device) { d.VerificationURI = "https://as.example/g" }},
		{"loopback", map[string]any{"verification_uri": "http://127.0.0.1/device"}, func(d *authserver.Device) { d.VerificationURI = "http://127.0.0.1/device" }},
		{"complete", map[string]any{"verification_uri_complete": "https://as.example/device?c=1"}, func(d *authserver.Device) { d.VerificationURIComplete = "https://as.example/device?c=1" }},
		{"complete, unsafe", map[string]any{"verification_uri_complete": "javascript:alert(1)"}, func(*authserver.Device) {}},
		{"complete, over plain http", map[string]any{"verification_uri_complete": "http://as.example/device?c=1"}, func(*authserver.Device) {}},

		{"no device_code", map[string]any{"device_code": nil}, nil},
		{"no user_code", map[string]any{"user_code": nil}, nil},
		{"no verification_uri", map[string]any{"verification_uri": nil}, nil},
		{"plain http", map[string]any{"verification_uri": "http://as.example/device"}, nil},
		{"a script", map[string]any{"verification_uri": "javascript:alert(1)"}, nil},
		{"a file", map[string]any{"verification_uri": "file:///etc/passwd"}, nil},
		{"another name in front", map[string]any{"verification_uri": "https://as.example@evil.example/"}, nil},
		{"an address that turns its direction", map[string]any{"verification_uri": "https://as.example/\u202eecived"}, nil},
		{"a code that clears the terminal", map[string]any{"user_code": "\x1b[2JAB"}, nil},
		{"a code of two lines", map[string]any{"user_code": "AB\nrun this"}, nil},
		{"a code without end", map[string]any{"user_code": strings.Repeat("A", 5000)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := canned(200, nil, deviceAnswer(t, c.changed)).AuthorizeDevice(t.Context(), endpoint, nil)
			if c.want == nil {
				require.Nil(t, got)
				requireFailure(t, err, authserver.MaybeProcessed)
				return
			}
			require.NoError(t, err)
			want := whole
			c.want(&want)
			require.Equal(t, &want, got)
		})
	}
}

func TestAuthorizeDeviceIsRefused(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   authserver.Outcome
		code   string
	}{
		{401, `{"error":"invalid_client"}`, authserver.Misconfigured, "invalid_client"},
		{200, `{"error":"unauthorized_client"}`, authserver.Misconfigured, "unauthorized_client"},
		{404, "", authserver.Misconfigured, ""},
		{302, "", authserver.Misconfigured, ""},
		{503, "", authserver.NotProcessed, ""},
		{200, "<html>", authserver.MaybeProcessed, ""},
		{200, `{"device_code":"A","device_code":"B","user_code":"C"}`, authserver.MaybeProcessed, ""},
	} {
		_, err := canned(c.status, nil, c.body).AuthorizeDevice(t.Context(), endpoint, nil)
		require.Equal(t, c.code, requireFailure(t, err, c.want).Code)
	}
}

func TestDevicesKeepTheirCode_I10(t *testing.T) {
	got, err := canned(200, nil, deviceAnswer(t, map[string]any{"device_code": "DC-SENTINEL"})).AuthorizeDevice(t.Context(), endpoint, nil)
	require.NoError(t, err)
	for _, shown := range everyWay(t, got) {
		require.NotContains(t, shown, "SENTINEL")
	}
}

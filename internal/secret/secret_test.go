package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/secret"
)

func TestShowsItselfNowhere(t *testing.T) {
	const text = "SENTINEL"
	s := secret.New(text)
	type holder struct{ hidden secret.String }
	var out bytes.Buffer
	for _, v := range []any{s, &s, []secret.String{s}, map[string]secret.String{"k": s}, struct{ S secret.String }{s}, holder{s}, &holder{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&out, verb, v)
		}
		data, err := json.Marshal(v)
		require.NoError(t, err)
		out.Write(data)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
	}
	require.Contains(t, out.String(), "[redacted]")
	require.NotContains(t, out.String(), text)
	require.NotContains(t, out.String(), fmt.Sprintf("%x", text))
	require.NotContains(t, out.String(), fmt.Sprintf("%X", text))
}

func TestReveal(t *testing.T) {
	require.Equal(t, "x", secret.New("x").Reveal())
	require.False(t, secret.New("x").IsEmpty())
	require.True(t, secret.New("").IsEmpty())
	require.Empty(t, secret.String{}.Reveal())
	require.Empty(t, secret.String{}.String())
}

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"
)

// asProgram makes the test binary be the program.
const asProgram = "EVERGRANT_QUICKSTART"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		keyring.MockInit() // the tests need no keychain, and leave the person's alone
		main()
		return
	}
	os.Exit(m.Run())
}

// runProgram runs the program and returns its lines and its exit code.
func runProgram(t *testing.T, args ...string) ([]string, int) {
	t.Helper()
	dir := t.TempDir()
	program := exec.CommandContext(t.Context(), os.Args[0], args...)
	program.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+dir, "TMP="+dir,
		"HOME="+t.TempDir(), "XDG_CONFIG_HOME=", "AppData="+t.TempDir())
	program.Stderr = os.Stderr
	out, err := program.Output()
	if _, failed := err.(*exec.ExitError); !failed {
		require.NoError(t, err)
	}
	t.Logf("%s", out)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the program cleans up")
	return strings.Split(strings.TrimSpace(string(out)), "\n"), program.ProcessState.ExitCode()
}

func TestQuickstart(t *testing.T) {
	tests := []struct {
		name string
		args []string
	}{
		{"a sealed file store", nil},
		{"the keychain", []string{"-store", "keychain", "-for", "6s"}},
		{"memory", []string{"-store", "memory", "-for", "6s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines, code := runProgram(t, tt.args...)
			require.Zero(t, code)
			require.Regexp(t, `^ok: requests=[1-9]\d+ failed=0 renewals=[3-9]\d* logins=1$`, lines[len(lines)-1])
			story := strings.Join(lines, "\n")
			require.Equal(t, 1, strings.Count(story, "asks for a login"))
			require.Contains(t, story, "throws its client away")
			require.Contains(t, story, "finds its grant")
			require.Regexp(t, `has answered 401 to [1-9]`, story, "the revoked token must have been used")
		})
	}
}

func TestQuickstart_fails(t *testing.T) {
	tests := []struct {
		name string
		args []string
	}{
		{"a provider that is not there", []string{"-issuer", "http://127.0.0.1:1", "-client-id", "x", "-url", "http://127.0.0.1:1"}},
		{"nothing to call", []string{"-issuer", "https://accounts.example.com", "-client-id", "x"}},
		{"no such store", []string{"-store", "drawer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines, code := runProgram(t, tt.args...)
			require.Equal(t, 1, code)
			require.Regexp(t, `^failed: .`, lines[len(lines)-1])
		})
	}
}

func TestVerdict(t *testing.T) {
	first := errors.New("the first failure")
	ended, end := context.WithCancel(t.Context())
	end()
	tests := []struct {
		name  string
		ctx   context.Context
		calls *calls
		want  string
	}{
		{"a call failed", t.Context(), &calls{requests: 9, failed: 2, first: first, tokens: 3}, "2 of 9 requests failed, first: the first failure"},
		{"no renewal was needed", t.Context(), &calls{requests: 9, tokens: 1}, "nothing was shown: 9 requests, 0 renewals, 0 logins"},
		{"an interrupt", ended, &calls{requests: 9, tokens: 3}, "interrupted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.EqualError(t, (&world{calls: tt.calls}).verdict(tt.ctx), tt.want)
		})
	}
}

package main

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/examples/internal/demo"
)

// asProgram makes the test binary be the program.
const asProgram = "EVERGRANT_QUICKSTART"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		keyring.MockInit() // the tests need no keychain, and leave the person's alone
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// runProgram runs the program and returns its lines and its exit code. read sees each line as it comes.
func runProgram(t *testing.T, read func(line string), args ...string) ([]string, int) {
	t.Helper()
	dir := t.TempDir()
	program := exec.CommandContext(t.Context(), os.Args[0], args...)
	program.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+dir, "TMP="+dir,
		"HOME="+t.TempDir(), "XDG_CONFIG_HOME=", "AppData="+t.TempDir(), "PATH=") // no browser is found
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, program.Start())
	var lines []string
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		t.Log(scanner.Text())
		read(scanner.Text())
		lines = append(lines, scanner.Text())
	}
	if err := program.Wait(); !program.ProcessState.Exited() {
		require.NoError(t, err)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the program cleans up")
	require.NotEmpty(t, lines)
	return lines, program.ProcessState.ExitCode()
}

func ignore(string) {}

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
			lines, code := runProgram(t, ignore, tt.args...)
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

// The program knows nothing of this provider but what its flags say.
func TestQuickstart_withAnotherProvider(t *testing.T) {
	t.Parallel()
	p, err := demo.StartProvider(300*time.Second, nil)
	require.NoError(t, err)
	defer p.Close()
	api := demo.StartAPI(p)
	defer api.Close()
	person := func(line string) {
		if address := strings.TrimSpace(line); strings.HasPrefix(address, p.Issuer+"/authorize?") {
			go func() { assert.NoError(t, demo.SignIn(t.Context(), http.DefaultClient, address)) }()
		}
	}
	lines, code := runProgram(t, person, "-issuer", p.Issuer, "-client-id", demo.ClientID, "-url", api.URL, "-for", "6s")
	require.Zero(t, code)
	require.Regexp(t, `^ok: requests=[1-9]\d+ failed=0 renewals=1 logins=1$`, lines[len(lines)-1])
	require.Equal(t, demo.Counts{Logins: 1, Renewals: 1}, p.Counts())
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
			lines, code := runProgram(t, ignore, tt.args...)
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

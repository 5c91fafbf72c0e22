// Package mainjob_test shows the one promise of Evergrant with the real client against real providers: a grant, once
// given, stays usable until the person or the server takes it back.
package mainjob_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/process"
)

// program is the environment variable that makes another program of the test binary: the one that reads a task.
const program = "EVERGRANT_MAINJOB_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		if err := run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// A crowd whose connections are not kept would run out of ports.
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 100
	goleak.VerifyTestMain(m)
}

// task is what the other program is to do.
type task struct {
	Do     string // logIn or begin
	Issuer string
	Place  crew.Place // where its grants lie
}

const (
	logIn = "log in" // prints the address to log in at, then saved
	begin = "begin"  // begins a login at a web backend, and prints its address and its text
	saved = "the grant is saved"
)

// run is the other program.
func run(ctx context.Context) error {
	var todo task
	if err := json.NewDecoder(os.Stdin).Decode(&todo); err != nil {
		return err
	}
	if todo.Do == begin {
		return beginLogin(ctx, todo.Issuer)
	}
	store, err := todo.Place.Open()
	if err != nil {
		return err
	}
	config := native(todo.Issuer)
	config.Store = store
	c, err := client.New(config)
	if err != nil {
		return err
	}
	err = c.Session(alice).Login(ctx, client.Browser{Params: consent, Open: func(address string) error {
		_, err := fmt.Println(address)
		return err
	}})
	if err != nil {
		return err
	}
	if err := c.Close(ctx); err != nil {
		return err
	}
	_, err = fmt.Println(saved)
	return err
}

func beginLogin(ctx context.Context, issuer string) error {
	c, err := client.New(backend(issuer))
	if err != nil {
		return err
	}
	p, err := c.Session(alice).Start(ctx, client.AuthCode{Params: consent})
	if err != nil {
		return err
	}
	text, err := p.MarshalText()
	if err != nil {
		return err
	}
	if _, err = fmt.Printf("%s\n%s\n", p.URL, text); err != nil {
		return err
	}
	return c.Close(ctx)
}

// start starts the other program. The function returned reads a line of its output.
func start(t *testing.T, todo task) (line func() string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), program+"=1")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	process.Start(t, cmd)
	require.NoError(t, json.NewEncoder(stdin).Encode(todo))
	require.NoError(t, stdin.Close())
	lines := bufio.NewScanner(stdout)
	return func() string {
		t.Helper()
		require.True(t, lines.Scan(), "the other program has ended early")
		return lines.Text()
	}
}

// consent is what oidc-provider wants before it gives a refresh token for offline_access.
var consent = url.Values{"prompt": {"consent"}}

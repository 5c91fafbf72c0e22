package processes_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

func TestAKeychainThatCannotBeUsed(t *testing.T) {
	for _, tt := range []struct {
		state gnomekeyring.State
		want  string
	}{
		{gnomekeyring.NoBus, "unavailable"},
		{gnomekeyring.NoService, "unavailable"},
		{gnomekeyring.Locked, "locked"},
	} {
		t.Run(string(tt.state), func(t *testing.T) {
			server := crew.AtOIDCProvider(strict(t)).Server
			server.RedirectURL = "" // a port of its own
			w := crew.Task{
				Place: crew.Place{Keychain: true, Dir: t.TempDir()}, Server: server, Act: tt.want,
				Journal: filepath.Join(t.TempDir(), "journal"),
			}.Start(t, gnomekeyring.Start(t, tt.state))
			w.Wait()
			for _, e := range w.Events() {
				require.NotEqual(t, opened, e.Name, "nobody logs in for a grant that cannot be kept")
			}
		})
	}
}

// opened is the event that somebody was asked to log in; the detail is the address for their browser.
const opened = "opened"

func expectUnavailable(s *client.Session, j *crew.Journal) error {
	return expectFailure(s, j, keychain.ErrUnavailable)
}

func expectLocked(s *client.Session, j *crew.Journal) error {
	return expectFailure(s, j, keychain.ErrLocked)
}

// expectFailure asks for a token and logs in. Both must end with the wanted error well within their time.
func expectFailure(s *client.Session, j *crew.Journal, want error) error {
	const limit = 20 * time.Second
	token := func(ctx context.Context) error {
		_, err := s.Token(ctx)
		return err
	}
	login := func(ctx context.Context) error {
		return s.Login(ctx, client.Browser{Open: func(address string) error {
			j.Write(opened, address)
			return nil
		}})
	}
	for name, act := range map[string]func(context.Context) error{"Token": token, "Login": login} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := act(ctx)
		late := ctx.Err()
		cancel()
		var typed *client.Error
		if !errors.Is(err, want) || !errors.As(err, &typed) || errors.Is(err, client.ErrLoginRequired) || late != nil {
			return fmt.Errorf("%s: want %v before the deadline, got %w (deadline: %v)", name, want, err, late)
		}
	}
	return nil
}

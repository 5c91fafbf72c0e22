//go:build linux

package faults_test

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

// teller is a Client of this process and what it has told.
type teller struct {
	*client.Client
	t *testing.T

	mu   sync.Mutex // guards told
	told []client.Event
}

// onDisk is a scene whose store lies on a disk of its own, and a Client that tells what happens.
func onDisk(t *testing.T, life time.Duration) (*scene, *disk, *teller) {
	t.Helper()
	d := newDisk(t)
	at := crew.InFolder(t)
	at.Dir = d.folder
	s, _ := strictScene(t, at, life)
	w := &teller{t: t}
	config := s.Site.Config(s.Store)
	config.OnEvent = func(e client.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, e)
	}
	var err error
	w.Client, err = client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, w.Close(ctx))
	})
	return s, d, w
}

// kinds are the kinds of what was told so far.
func (w *teller) kinds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds []string
	for _, e := range w.told {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (w *teller) await(kind string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return slices.Contains(w.kinds(), kind) }, patient, 5*time.Millisecond, "%q is not told", kind)
}

// I2: no refresh token is spent for a store that cannot be written.
func TestNothingIsSpentForADiskThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		spoil, mend func(*disk)
		want        syscall.Errno
	}{
		{"full", (*disk).fill, (*disk).empty, syscall.ENOSPC},
		{"read-only", (*disk).protect, (*disk).unprotect, syscall.EROFS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, d, w := onDisk(t, 0)
			session := w.Session(crew.Account)
			before := s.stored()
			tt.spoil(d)
			mended := sync.OnceFunc(func() { tt.mend(d) })
			t.Cleanup(mended)
			const longerThanABackoff = 3 * time.Second
			for end := time.Now().Add(longerThanABackoff); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				_, err := session.Renew(t.Context(), nil)
				require.ErrorIs(t, err, tt.want)
				require.NotErrorIs(t, err, client.ErrLoginRequired)
				require.NoError(t, crew.Call(session.HTTPClient(), s.Site.API), "the token at hand serves")
			}
			require.Empty(t, s.refreshes(), "a refresh token was spent")
			require.Equal(t, before, s.stored())
			stranger := s.hire(0) // is served from the store

			mended()
			require.Eventually(t, func() bool {
				_, err := session.Renew(t.Context(), nil)
				return err == nil
			}, patient, 50*time.Millisecond)
			require.Len(t, s.refreshes(), 1)
			s.requireAlive(stranger)
			s.requireSpentOnce()
		})
	}
}

// I3: tokens that cannot be saved serve from memory once the old one is of no use, and are saved when there is space.
func TestADiskFillsUpWhileTheAnswerComes(t *testing.T) {
	t.Parallel()
	s, d, w := onDisk(t, 6*time.Second)
	session := w.Session(crew.Account)
	old := s.stored()
	status, err := session.Status(t.Context())
	require.NoError(t, err)
	gate := s.hold(tcpproxy.HoldAnswer)
	stop := callAllTheTime(t, session, s.Site.API)

	s.awaitMet(gate) // ahead of the token's end, in the background
	d.fill()
	gate.Open()
	w.await("save failed")
	time.Sleep(time.Until(status.Expiry) + 200*time.Millisecond)
	require.NoError(t, crew.Call(session.HTTPClient(), s.Site.API), "the new token serves from memory")
	require.Equal(t, old.RefreshToken, s.stored().RefreshToken)
	require.NotContains(t, w.kinds(), "saved")
	d.empty()
	w.await("saved")
	require.Equal(t, s.refreshes()[0].Issued, ledger.Name(s.stored().RefreshToken))
	stop()

	kinds := w.kinds()
	require.Less(t, slices.Index(kinds, "save failed"), slices.Index(kinds, "saved"))
	s.requireAlive(s.hire(0))
	s.requireSpentOnce()
}

// callAllTheTime calls the API until stop is called, which wants every call to have ended well.
func callAllTheTime(t *testing.T, session *client.Session, api string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	hc := session.HTTPClient()
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := crew.Call(hc, api); err != nil {
				ended <- err
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		ended <- nil
	}()
	return func() {
		t.Helper()
		cancel()
		require.NoError(t, <-ended, "a call has failed")
	}
}

// I3: Close does not end before they are saved.
func TestCloseSavesWhatADiskHadNoSpaceFor(t *testing.T) {
	t.Parallel()
	s, d, w := onDisk(t, 0)
	session := w.Session(crew.Account)
	old := s.stored()
	gate := s.hold(tcpproxy.HoldAnswer)
	outcome := make(chan error, 1)
	go func() {
		_, err := renewNow(session)
		outcome <- err
	}()
	s.awaitMet(gate)
	d.fill()
	gate.Open()
	require.NoError(t, <-outcome, "the new token serves from memory")
	w.await("save failed")
	require.NoError(t, crew.Call(session.HTTPClient(), s.Site.API))

	closed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		closed <- w.Close(ctx)
	}()
	select {
	case err := <-closed:
		require.Fail(t, "Close has not waited", "%v", err)
	case <-time.After(500 * time.Millisecond):
	}
	require.Equal(t, old.RefreshToken, s.stored().RefreshToken)
	d.empty()
	require.NoError(t, <-closed)
	require.Equal(t, s.refreshes()[0].Issued, ledger.Name(s.stored().RefreshToken))
	require.Contains(t, w.kinds(), "saved")
	s.requireAlive(s.hire(0))
	s.requireSpentOnce()
}

//go:build unix

package faults_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

// leaseLength is how long the lease of a holder is honoured that lives and is silent.
const leaseLength = 15 * time.Second

// stop stops the hand; when it returns, nothing of it runs any more.
func (h *hand) stop() {
	h.t.Helper()
	require.NoError(h.t, h.Process().Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(h.Process().Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(h.t, err)
	require.True(h.t, status.Stopped(), "it has ended")
}

// wake lets a stopped hand go on.
func (h *hand) wake() {
	h.t.Helper()
	require.NoError(h.t, h.Process().Signal(syscall.SIGCONT))
}

// stopHolder has a hand renew and stops it with the lease in its hands, before anything of its request has left.
func (s *scene) stopHolder() *hand {
	s.t.Helper()
	const slow = 4 * time.Second // at most: long enough to be stopped in, over when the lease is
	for range 5 {
		h := s.hire(slow)
		gate := s.hold(tcpproxy.HoldRequest)
		h.tell(renew)
		h.await(1, crew.Sending)
		h.stop()
		select {
		case <-gate.Met(): // its request was quicker than the signal: that once, it is another case
			gate.Open()
			h.wake()
			h.requireRenewed()
		case <-time.After(100 * time.Millisecond):
			gate.Open() // it is for whoever sends next
			return h
		}
	}
	require.Fail(s.t, "no holder could be stopped in time")
	return nil
}

// takeOver has a hand renew, which must cost it the patience that a stopped holder is due.
func (h *hand) takeOver() crew.Event {
	h.t.Helper()
	start := time.Now()
	h.tell(renew)
	e := h.outcome()
	require.Greater(h.t, e.At.Sub(start), leaseLength*2/3, "the lease of a living holder was not honoured")
	return e
}

// I1: who was stopped past the lease sends nothing.
func TestAHolderIsStoppedBeforeItSends(t *testing.T) {
	t.Parallel()
	s, _ := strictScene(t, crew.InFolder(t), 0)
	other := s.hire(0)
	stopped := s.stopHolder()
	before := len(s.refreshes())
	require.NotNil(t, s.stored().Lease)

	e := other.takeOver()
	require.Equal(t, renewed, e.Name, e.Detail)
	require.Len(t, s.refreshes(), before+1)
	require.Zero(t, s.proxy.Unused())

	stopped.wake()
	require.Equal(t, e.Detail, stopped.requireRenewed(), "it takes what the other has brought")
	s.requireAlive(stopped, other)
	s.requireSpentOnce()
}

// A strict server ends the grant when the one who took over asks again. That is said, with its cause.
func TestAHolderIsStoppedAfterItSent_Strict(t *testing.T) {
	t.Parallel()
	s, _ := strictScene(t, crew.InFolder(t), 0)
	stopped, other := s.hire(0), s.hire(0)
	s.stopAwaiting(stopped)

	e := other.takeOver()
	require.Equal(t, crew.LoginRequired, e.Name, e.Detail)
	require.Equal(t, "lost answer", e.Detail)

	stopped.wake()
	stopped.requireRenewed() // it cannot know yet that its tokens died with the grant
	s.requireLost(stopped)
	s.requireLost(other)
	s.requireLost(s.newHand())
	lines := s.refreshes()
	require.Len(t, lines, 3)
	require.Equal(t, lines[0].Presented, lines[1].Presented)
	require.True(t, lines[1].Reuse)
	require.Equal(t, lines[0].Issued, lines[2].Presented, "the late winner's token was not tried")
	require.Equal(t, "invalid_grant", lines[2].Error)

	s.SignIn()
	s.requireAlive(stopped, other)
}

// requireLost wants h to say that a login is required, and why, however it is asked. One call may be answered by the API
// itself: it has replaced one token that the server does not know any more by another.
func (s *scene) requireLost(h *hand) {
	s.t.Helper()
	h.tell(call + " " + s.Site.API)
	if e := h.outcome(); e.Name != crew.LoginRequired {
		require.Equal(s.t, crew.Failed, e.Name)
		require.Equal(s.t, "the API answers 401 Unauthorized", e.Detail)
	}
	for _, what := range []string{call + " " + s.Site.API, renew, call + " " + s.Site.API} {
		h.tell(what)
		e := h.outcome()
		require.Equal(s.t, crew.LoginRequired, e.Name, e.Detail)
	}
	for _, e := range h.Events() {
		if e.Name == crew.LoginRequired {
			require.Equal(s.t, "lost answer", e.Detail)
		}
	}
}

// stopAwaiting has h renew and stops it when the server has answered. The answer comes while h is stopped.
func (s *scene) stopAwaiting(h *hand) {
	s.t.Helper()
	gate := s.hold(tcpproxy.HoldAnswer)
	h.tell(renew)
	s.awaitMet(gate)
	h.stop()
	gate.Open()
}

// Where the server has a leeway, nothing is lost: neither when the late winner wakes up behind the one who took over, nor
// when he does so while that one's request is out.
func TestAHolderIsStoppedAfterItSent_Leeway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		wake func(t *testing.T, s *scene, stopped, other *hand)
	}{
		{"and wakes up too late", func(t *testing.T, s *scene, stopped, other *hand) {
			e := other.takeOver()
			require.Equal(t, renewed, e.Name, e.Detail)
			before := s.stored()
			stopped.wake()
			require.Equal(t, e.Detail, stopped.requireRenewed())
			require.Equal(t, before, s.stored(), "an older generation was written over a newer one")
		}},
		{"and wakes up while another's answer is on its way", func(t *testing.T, s *scene, stopped, other *hand) {
			gate := s.hold(tcpproxy.HoldAnswer)
			other.tell(renew)
			s.awaitMet(gate)
			stopped.wake()
			stopped.requireRenewed()
			mine := s.stored()
			require.Equal(t, s.refreshes()[0].Issued, ledger.Name(mine.RefreshToken), "the late winner's token is thrown away")
			require.NotNil(t, mine.Lease, "the other's lease is gone")
			gate.Open()
			other.requireRenewed()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := lenientScene(t, crew.InFolder(t))
			stopped, other := s.hire(0), s.hire(0)
			s.stopAwaiting(stopped)
			tt.wake(t, s, stopped, other)
			lines := s.refreshes()
			require.Len(t, lines, 2, "one each")
			require.Equal(t, lines[0].Presented, lines[1].Presented)
			require.Equal(t, lines[len(lines)-1].Issued, ledger.Name(s.stored().RefreshToken))
			s.requireAlive(stopped, other)
			for _, line := range s.refreshes() {
				require.Equal(t, 200, line.Status, line.Error)
			}
		})
	}
}

package client_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// The tests called D1 to D13 are traces that model checking has found: each ends badly when one rule
// of the renewal protocol is left out.

// fleet is an authorization server and a store, over which processes share the grant of one person.
type fleet struct {
	t  *testing.T
	as *clienttest.Server
	*tokenstore.Memory
	living sync.Map // liveness locks held, by name; the values are the processes
}

// simulate runs f in a bubble, over a fleet with one grant whose access token has ended.
func simulate(t *testing.T, f func(t *testing.T, w *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &fleet{t: t, as: clienttest.New(t), Memory: tokenstore.NewMemory()}
		require.NoError(t, w.process("seed").alice().Adopt(t.Context(), w.as.Login()))
		time.Sleep(2 * time.Hour)
		f(t, w)
	})
}

// process is one program: a Client with its own way to the store and the server, and its own clocks.
type process struct {
	*client.Client
	*view
	t *testing.T
}

func (w *fleet) process(name string) *process {
	return w.start(name, func(v *view) tokenstore.Store { return v })
}

// localProcess is one whose store tells living holders of leases from dead ones.
func (w *fleet) localProcess(name string) *process {
	return w.start(name, func(v *view) tokenstore.Store { return &localView{v, w} })
}

func (w *fleet) start(name string, store func(*view) tokenstore.Store) *process {
	v := &view{Memory: w.Memory, wire: w.as.HTTPClient(name).Transport}
	given := w.as.Config()
	c, err := client.New(client.Config{
		Endpoint: given.Endpoint, RevocationURL: "https://as.test/revoke", RedirectURL: "https://app.test/callback",
		ClientID: given.ClientID, ClientSecret: given.ClientSecret,
		Store: store(v), AuthServerClient: &http.Client{Transport: v},
	})
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		v.resume()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		require.NoError(w.t, c.Close(ctx))
	})
	return &process{c, v, w.t}
}

func (p *process) alice() *client.Session { return p.Session("alice") }

// asks has the process ask for a token in the background.
func (p *process) asks() <-chan outcome {
	got := make(chan outcome, 1)
	go func() { t, err := p.alice().Token(p.t.Context()); got <- outcome{t, err} }()
	synctest.Wait()
	return got
}

type outcome struct {
	token *oauth2.Token
	err   error
}

func (o outcome) access(t *testing.T) string {
	t.Helper()
	require.NoError(t, o.err)
	return o.token.AccessToken
}

// login logs alice in as a web backend does.
func (p *process) login() error {
	pending, err := p.alice().Start(p.t.Context(), client.AuthCode{})
	require.NoError(p.t, err)
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, pending.URL, nil)
	require.NoError(p.t, err)
	resp, err := p.RoundTrip(req)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	callback, err := resp.Location()
	require.NoError(p.t, err)
	return p.alice().Finish(p.t.Context(), pending, callback.Query())
}

// view is a process's way to the shared store and to the server. It brings the process's clocks.
type view struct {
	*tokenstore.Memory
	wire http.RoundTripper

	mu         sync.Mutex
	wall, mono time.Duration                                                                        // that the clocks are off; guarded by mu
	stopped    bool                                                                                 // guarded by mu
	onSwap     func(v []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) // guarded by mu
	onSend     func()                                                                               // guarded by mu
}

var errStopped = errors.New("the process is stopped")

func (v *view) Machine() machine.Machine { return v }
func (v *view) Uint64() uint64           { return machine.Real{}.Uint64() }

func (v *view) Now() machine.Reading {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := machine.Real{}.Now()
	return machine.Reading{Wall: now.Wall.Add(v.wall), Mono: now.Mono + v.mono}
}

// jump moves the clocks.
func (v *view) jump(wall, mono time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wall += wall
	v.mono += mono
}

// stop keeps the process from the store, as one that does not run; resume undoes it.
func (v *view) stop() { v.mu.Lock(); defer v.mu.Unlock(); v.stopped = true }

func (v *view) resume() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stopped, v.onSwap, v.onSend = false, nil, nil
}

// swaps installs what happens to this process's swaps, sends what happens before its requests leave.
func (v *view) swaps(f func(value []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.onSwap = f
}

func (v *view) sends(f func()) { v.mu.Lock(); defer v.mu.Unlock(); v.onSend = f }

func (v *view) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	v.mu.Lock()
	stopped := v.stopped
	v.mu.Unlock()
	if stopped {
		return nil, "", errStopped
	}
	return v.Memory.Load(ctx, key)
}

func (v *view) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	v.mu.Lock()
	stopped, on := v.stopped, v.onSwap
	v.mu.Unlock()
	apply := func() (tokenstore.Version, error) { return v.Memory.Swap(ctx, key, old, value) }
	switch {
	case stopped:
		return "", errStopped
	case on != nil:
		return on(value, apply)
	}
	return apply()
}

func (v *view) RoundTrip(req *http.Request) (*http.Response, error) {
	v.mu.Lock()
	on := v.onSend
	v.mu.Unlock()
	if on != nil {
		on()
	}
	return v.wire.RoundTrip(req)
}

// localView is a view of a store on this machine.
type localView struct {
	*view
	w *fleet
}

func (l *localView) Hold(_ context.Context, name string) (func(), error) {
	l.w.living.Store(name, true)
	return func() { l.w.living.Delete(name) }, nil
}

func (l *localView) Held(_ context.Context, name string) (bool, error) {
	_, held := l.w.living.Load(name)
	return held, nil
}

// stored is what the store holds for alice.
func (w *fleet) stored() *record.Record {
	data, _, err := w.Load(w.t.Context(), tokenstore.Key("https://as.test/token", "app", "alice"))
	require.NoError(w.t, err)
	r, err := record.Decode(data)
	require.NoError(w.t, err)
	return r
}

// presented names the refresh tokens that the server has processed, in order.
func (w *fleet) presented() []string {
	var names []string
	for _, r := range w.as.Requests() {
		if r.GrantType == "refresh_token" && r.Token != "" {
			names = append(names, r.Token)
		}
	}
	return names
}

// isSave reports whether value is a record with newer tokens than generation.
func isSave(t *testing.T, value []byte, generation uint64) bool {
	r, err := record.Decode(value)
	require.NoError(t, err)
	return r.Generation > generation
}

// refuseSaves lets leases be written and nothing newer than generation.
func (p *process) refuseSaves(generation uint64) {
	p.swaps(func(value []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
		if isSave(p.t, value, generation) {
			return "", errDisk
		}
		return apply()
	})
}

func TestD1_UnsavedTokensAreSavedBeforeARenewal(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		p.refuseSaves(w.stored().Generation)
		second := (<-p.asks()).token
		time.Sleep(2 * time.Minute)
		_, err := p.alice().Renew(t.Context(), second)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, []string{"RT1"}, w.presented(), "nothing is spent over an unsaved successor")
		p.resume()
		third, err := p.alice().Renew(t.Context(), second)
		require.NoError(t, err)
		require.NotEqual(t, second.AccessToken, third.AccessToken)
		require.Equal(t, []string{"RT1", "RT2"}, w.presented())
	})
}

func TestD2_WhoWasStoppedPastItsLeaseSendsNothing(t *testing.T) {
	const stop = 19 * time.Second
	for name, clocks := range map[string]struct{ wall, mono time.Duration }{
		"stopped":                      {},
		"suspended":                    {mono: -stop},
		"stopped, wall clock set back": {wall: -stop},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p1, p2 := w.process("p1"), w.process("p2")
				p1.sends(func() { // the connection is ready, nothing is written yet
					p1.stop()
					time.Sleep(stop)
					p1.jump(clocks.wall, clocks.mono)
					p1.resume()
				})
				first := p1.asks()
				second := (<-p2.asks()).access(t)
				require.Equal(t, second, (<-first).access(t))
				require.Equal(t, []string{"RT1"}, w.presented())
				require.Equal(t, "p2", w.as.Requests()[0].Process)
			})
		})
	}
}

// takeOver has p1 lease and send, stops it, and has p2 take over after the lease. The faults are those of
// their requests.
func takeOver(w *fleet, faults ...clienttest.Fault) (p1, p2 *process, first, second <-chan outcome) {
	w.as.Fail("/token", faults...)
	p1, p2 = w.process("p1"), w.process("p2")
	first = p1.asks()
	p1.stop()
	second = p2.asks()
	time.Sleep(17 * time.Second)
	require.Len(w.t, w.as.Requests(), 2, "p2 has taken over")
	p1.resume()
	return p1, p2, first, second
}

// TestD3_D4 has p1's request reach the server after p2's. The refusal comes while p2 still holds the
// lease, or when it has saved; in the RFC's words, or in Dex's.
// Shows R9700-4.14.2-1.
func TestD3_D4_RefusalIsOfNoAccountWhenTheLeaseIsGone(t *testing.T) {
	for name, words := range map[string]string{"D3_invalid_grant": "", "D4_unclear": `{"error":"invalid_request"}`} {
		for when, answer := range map[string]time.Duration{"while p2 waits": 8 * time.Second, "after p2's save": 0} {
			t.Run(name+"/"+when, func(t *testing.T) {
				simulate(t, func(t *testing.T, w *fleet) {
					w.as.Change(func() {
						w.as.Policy.KeepFamily = true
						if words != "" {
							w.as.Policy.DeadStatus, w.as.Policy.DeadBody = 400, words
						}
					})
					_, _, first, second := takeOver(w, clienttest.Fault{Wait: 20 * time.Second}, clienttest.Fault{WaitAnswer: answer})
					require.Equal(t, (<-second).access(t), (<-first).access(t))
					require.Nil(t, w.stored().Mark)
					require.Equal(t, []string{"RT1", "RT1"}, w.presented())
				})
			})
		}
	}
}

// TestD3_RefusalOfTokensThatALateHolderHasReplaced: p1 wakes with the successor in its hands and saves it
// beside p2's lease; then p2 is refused. Its lease is there, but the refusal is not about what the
// store holds.
func TestD3_RefusalOfTokensThatALateHolderHasReplaced(t *testing.T) {
	for name, words := range map[string]string{"invalid_grant": "", "unclear": `{"error":"invalid_request"}`} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				w.as.Change(func() {
					w.as.Policy.KeepFamily = true
					if words != "" {
						w.as.Policy.DeadStatus, w.as.Policy.DeadBody = 400, words
					}
				})
				_, _, first, second := takeOver(w, clienttest.Fault{WaitAnswer: 18 * time.Second}, clienttest.Fault{WaitAnswer: 8 * time.Second})
				require.Equal(t, (<-first).access(t), (<-second).access(t))
				require.Nil(t, w.stored().Mark)
				require.Nil(t, w.stored().Lease)
			})
		})
	}
}

func TestD5_LoginThatLandedIsNotWrittenAgain(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p1, p2 := w.process("p1"), w.process("p2")
		p1.swaps(func(_ []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			_, err := apply()
			require.NoError(t, err)
			_, err = p2.alice().Renew(t.Context(), nil)
			require.NoError(t, err)
			return "", errDisk
		})
		require.NoError(t, p1.login())
		p1.resume()
		require.Equal(t, w.stored().Leases, w.stored().Generation, "p2's tokens are still there")
		_, err := p1.alice().Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, w.as.Reuses())
	})
}

func TestD5_LoginDoesNotUndoALogout(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p1, p2 := w.process("p1"), w.process("p2")
		p1.swaps(func(_ []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			_, err := apply()
			require.NoError(t, err)
			w.as.Fail("/revoke", clienttest.Fault{Status: 500})
			require.Error(t, p2.alice().Logout(t.Context()))
			return "", errDisk
		})
		require.ErrorIs(t, p1.login(), errDisk)
		p1.resume()
		_, err := p1.alice().Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.Equal(t, 1, w.as.Grants(), "the adopted one; that of the login is revoked")
	})
}

func TestD6_LogoutDeletesOnlyTheGrantItRead(t *testing.T) {
	for name, same := range map[string]bool{"in another process": false, "in the same process": true} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p1 := w.process("p1")
				p2 := p1
				if !same {
					p2 = w.process("p2")
				}
				var once sync.Once
				p1.sends(func() {
					once.Do(func() {
						p1.resume()
						require.NoError(t, p2.login())
					})
				})
				require.NoError(t, p1.alice().Logout(t.Context()))
				require.Equal(t, (<-p2.asks()).access(t), (<-p1.asks()).access(t))
				require.Equal(t, 1, w.as.Grants())
				require.Len(t, w.as.Revocations(), 1)
			})
		})
	}
}

func TestD7_RenewalOutdoneByALoginRevokesNothing_ByALogoutItDoes(t *testing.T) {
	for name, logout := range map[string]bool{"login": false, "logout": true} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				w.as.Change(func() { w.as.Policy.KeepFamily = true })
				p1, p2 := w.process("p1"), w.process("p2")
				w.as.Fail("/token", clienttest.Fault{WaitAnswer: 5 * time.Second})
				first := p1.asks()
				if logout {
					require.NoError(t, p2.alice().Logout(t.Context()))
					require.ErrorIs(t, (<-first).err, client.ErrLoginRequired)
					require.Len(t, w.as.Revocations(), 3)
					require.Equal(t, "RT2", w.as.Revocations()[1].Token)
					require.Equal(t, "AT2", w.as.Revocations()[2].Token)
					return
				}
				require.NoError(t, p2.login())
				require.Equal(t, (<-p2.asks()).access(t), (<-first).access(t))
				require.Empty(t, w.as.Revocations())
			})
		})
	}
}

// TestALogoutBeforeTheSaveLeavesNoLivenessLock: the tokens can neither be saved nor compared with the store, and a person has
// ended their grant.
func TestALogoutBeforeTheSaveLeavesNoLivenessLock(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p, generation := w.localProcess("p"), w.stored().Generation
		p.swaps(func(value []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			if len(value) == 0 || !isSave(t, value, generation) {
				return apply()
			}
			require.NoError(t, p.alice().Logout(t.Context()))
			p.stop()
			time.AfterFunc(time.Second, p.resume)
			return "", errDisk
		})
		require.Error(t, (<-p.asks()).err)
		time.Sleep(time.Minute)
		w.living.Range(func(name, _ any) bool { t.Errorf("%s is still held", name); return true })
		require.Zero(t, w.as.Grants())
	})
}

func TestD8_SavesAreTriedDenselyWhileTheLeaseLasts(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p1, p2 := w.process("p1"), w.process("p2")
		var tries []time.Time
		generation, healed := w.stored().Generation, time.Now().Add(12*time.Second)
		p1.swaps(func(value []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			if !isSave(t, value, generation) {
				return apply()
			}
			tries = append(tries, time.Now())
			if time.Now().Before(healed) {
				return "", errDisk
			}
			return apply()
		})
		first := (<-p1.asks()).access(t)
		require.Equal(t, first, (<-p2.asks()).access(t))
		require.Equal(t, []string{"RT1"}, w.presented())
		for i := range tries[1:] {
			require.LessOrEqual(t, tries[i+1].Sub(tries[i]), 1250*time.Millisecond)
		}
	})
}

// late has p1 save its tokens beside the lease of p2, whose request is under way and brings others.
func late(t *testing.T, f func(t *testing.T, w *fleet, p1, p2 *process, first string, second <-chan outcome)) {
	simulate(t, func(t *testing.T, w *fleet) {
		w.as.Change(func() { w.as.Policy.Leeway = time.Hour })
		p1, p2, first, second := takeOver(w, clienttest.Fault{WaitAnswer: 18 * time.Second}, clienttest.Fault{WaitAnswer: 12 * time.Second})
		f(t, w, p1, p2, (<-first).access(t), second)
	})
}

func TestD9_TheLaterLeaseHasTheHigherGeneration(t *testing.T) {
	late(t, func(t *testing.T, w *fleet, p1, p2 *process, first string, second <-chan outcome) {
		third := (<-second).access(t)
		require.NotEqual(t, first, third)
		_, err := p2.alice().Renew(t.Context(), &oauth2.Token{AccessToken: third})
		require.NoError(t, err)
		require.Equal(t, []string{"RT1", "RT1", "RT3"}, w.presented())
	})
}

func TestD13_LateSaveKeepsAnothersLease(t *testing.T) {
	late(t, func(t *testing.T, w *fleet, p1, p2 *process, first string, second <-chan outcome) {
		require.NotNil(t, w.stored().Lease)
		time.Sleep(time.Second)
		got, err := p1.alice().Renew(t.Context(), &oauth2.Token{AccessToken: first})
		require.NoError(t, err)
		require.Equal(t, (<-second).access(t), got.AccessToken)
		require.Equal(t, []string{"RT1", "RT1"}, w.presented())
	})
}

func TestD10_SlowIsNotLost(t *testing.T) {
	for name, answer := range map[string]time.Duration{"just in time": 29 * time.Second, "too late": 31 * time.Second} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p1, p2 := w.process("p1"), w.process("p2")
				w.as.Fail("/token", clienttest.Fault{Wait: answer})
				first := p1.asks()
				if answer > 30*time.Second {
					err := (<-first).err
					require.Error(t, err)
					require.NotErrorIs(t, err, client.ErrLoginRequired)
				} else {
					require.Equal(t, (<-p2.asks()).access(t), (<-first).access(t), "p2 waits, as the lease is extended")
				}
				require.Len(t, w.as.Requests(), 1)
				time.Sleep(5 * time.Second)
			})
		})
	}
}

func TestD11_RequestOfADeadProcessGetsTimeToEnd(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		w.as.Change(func() { w.as.Policy.Leeway = time.Hour })
		p1, p2 := w.localProcess("p1"), w.localProcess("p2")
		w.as.Fail("/token", clienttest.Fault{Wait: 2 * time.Second, WaitAnswer: 20 * time.Second})
		first := p1.asks()
		second := p2.asks()
		time.Sleep(time.Second)
		p1.stop()
		w.living.Clear()
		death := time.Now()
		_ = (<-second).access(t)
		sent := w.as.Requests()[1].Time.Sub(death)
		require.GreaterOrEqual(t, sent, 2*time.Second)
		require.Less(t, sent, 4*time.Second)
		p1.resume()
		<-first
	})
}

func TestD12_TheStoreIsReadAgainBeforeEveryFurtherSend(t *testing.T) {
	for name, f := range map[string]clienttest.Fault{
		"request lost":  {Wait: 8 * time.Second, LoseRequest: true},
		"not processed": {Wait: 8 * time.Second, Status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				_, _, first, second := takeOver(w, clienttest.Fault{WaitAnswer: 18 * time.Second}, f)
				require.Equal(t, (<-first).access(t), (<-second).access(t))
				require.Equal(t, []string{"RT1"}, w.presented())
				require.Len(t, w.as.Requests(), 2)
			})
		})
	}
}

func TestWaiterCountsAwakeObservedTime(t *testing.T) {
	for name, jump := range map[string]struct{ wall, mono time.Duration }{
		"all were suspended": {wall: 5 * time.Minute},
		"waiter was stopped": {wall: 5 * time.Minute, mono: 5 * time.Minute},
		"wall clock set":     {wall: -5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p1, p2 := w.process("p1"), w.process("p2")
				w.as.Fail("/token", clienttest.Fault{WaitAnswer: 8 * time.Second})
				first := p1.asks()
				second := p2.asks()
				time.Sleep(3500 * time.Millisecond)
				p2.jump(jump.wall, jump.mono)
				require.Equal(t, (<-first).access(t), (<-second).access(t))
				require.Equal(t, []string{"RT1"}, w.presented())
			})
		})
	}
}

func TestTokenEndsByEitherClock(t *testing.T) {
	for name, c := range map[string]struct{ wall, mono time.Duration }{
		"after a laptop's sleep":           {wall: 2 * time.Hour},
		"wall clock set back by two hours": {wall: -2 * time.Hour, mono: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p := w.process("p1")
				old := (<-p.asks()).access(t)
				p.jump(c.wall, c.mono)
				require.NotEqual(t, old, (<-p.asks()).access(t))
			})
		})
	}
}

// Shows R6749-5.1-4.
func TestExpiryIsKeptInTheServersTime(t *testing.T) {
	for name, off := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p1, p2 := w.process("p1"), w.process("p2")
				p1.jump(off, 0)
				first, err := p1.alice().Renew(t.Context(), nil)
				require.NoError(t, err)
				require.WithinDuration(t, time.Now().Add(off+time.Hour), first.Expiry, 2*time.Second, "by p1's clock")
				second := (<-p2.asks())
				require.Equal(t, first.AccessToken, second.access(t))
				require.WithinDuration(t, time.Now().Add(time.Hour), second.token.Expiry, 2*time.Second, "by p2's")
			})
		})
	}
}

// TestCloseInEveryPhase closes a process while it renews: what was received is saved, nothing is spent twice.
func TestCloseInEveryPhase(t *testing.T) {
	slowly := func(nth int) func(p *process) {
		return func(p *process) {
			n := 0
			p.swaps(func(_ []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
				if n++; n == nth {
					time.Sleep(2 * time.Second)
				}
				return apply()
			})
		}
	}
	for name, c := range map[string]struct {
		fault  clienttest.Fault
		before func(p *process)
		fails  bool
	}{
		"lease":   {before: slowly(1)},
		"request": {fault: clienttest.Fault{Wait: 5 * time.Second}},
		"answer":  {fault: clienttest.Fault{WaitAnswer: 5 * time.Second}},
		"backoff": {fault: clienttest.Fault{Status: 503, Header: http.Header{"Retry-After": {"5"}}}},
		"save":    {before: slowly(2)},
		"refused saves": {before: func(p *process) {
			healed := time.Now().Add(5 * time.Second)
			generation := uint64(1)
			p.swaps(func(value []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
				if isSave(p.t, value, generation) && time.Now().Before(healed) {
					return "", errDisk
				}
				return apply()
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p := w.process("p1")
				w.as.Fail("/token", c.fault)
				if c.before != nil {
					c.before(p)
				}
				first := p.asks()
				require.NoError(t, p.Close(t.Context()))
				got := (<-first).access(t)
				_, err := p.alice().Token(t.Context())
				require.ErrorIs(t, err, client.ErrClosed)
				require.Equal(t, got, (<-w.process("p2").asks()).access(t))
				require.Equal(t, []string{"RT1"}, slices.Compact(w.presented()))
				require.Empty(t, w.as.Reuses())
			})
		})
	}
}

func TestCloseDoesNotWaitForAnotherProcess(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p1, p2 := w.process("p1"), w.process("p2")
		w.as.Fail("/token", clienttest.Fault{Wait: 20 * time.Second})
		first := p1.asks()
		second := p2.asks()
		begin := time.Now()
		require.NoError(t, p2.Close(t.Context()))
		require.LessOrEqual(t, time.Since(begin), time.Second)
		require.ErrorIs(t, (<-second).err, client.ErrClosed)
		_ = (<-first).access(t)
	})
}

func TestNothingIsPublishedAfterACloseThatGaveUp(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		p.swaps(func(value []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			if isSave(t, value, 1) {
				time.Sleep(5 * time.Second)
			}
			return apply()
		})
		first := p.asks()
		given, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Close(given), context.DeadlineExceeded)
		_ = (<-first).access(t)
		_, err := p.alice().Token(t.Context())
		require.ErrorIs(t, err, client.ErrClosed)
	})
}

func TestLoginThatComesAfterCloseIsRevoked(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		w.as.Fail("/token", clienttest.Fault{WaitAnswer: 5 * time.Second})
		done := make(chan error, 1)
		go func() { done <- p.login() }()
		synctest.Wait()
		require.Equal(t, 2, w.as.Grants())
		require.NoError(t, p.Close(t.Context()))
		require.ErrorIs(t, <-done, client.ErrClosed)
		require.Equal(t, 1, w.as.Grants())
	})
}

func TestFinishHasItsOwnDeadline(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		w.as.Fail("/token", clienttest.Fault{Wait: time.Hour})
		begin := time.Now()
		require.ErrorIs(t, w.process("p1").login(), context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(begin))
	})
}

func TestAdoptedTokenThatCannotBeSavedIsNotRevoked(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		again := w.as.Login()
		p.stop()
		require.ErrorIs(t, p.Session("bob").Adopt(t.Context(), again), errStopped)
		p.resume()
		require.Empty(t, w.as.Revocations())
		require.NoError(t, p.Session("bob").Adopt(t.Context(), again))
	})
}

func TestLogoutDeletesThoughTheServerHangs(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		w.as.Fail("/revoke", clienttest.Fault{Wait: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		require.ErrorIs(t, p.alice().Logout(ctx), context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(begin))
		_, err := p.alice().Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
}

// TestLogoutDeletesThoughTheServerHangsAndAnotherProcessRenews: what the other one saves is deleted as well, in time.
func TestLogoutDeletesThoughTheServerHangsAndAnotherProcessRenews(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p, other := w.process("p1"), w.process("p2")
		w.as.Fail("/revoke", slices.Repeat([]clienttest.Fault{{Wait: time.Hour}}, 10)...)
		ended := make(chan error, 1)
		begun := time.Now()
		go func() { ended <- p.alice().Logout(t.Context()) }()
		for range 4 {
			time.Sleep(6 * time.Second)
			_, _ = other.alice().Renew(t.Context(), nil)
		}
		require.ErrorIs(t, <-ended, client.ErrNotRevoked)
		require.LessOrEqual(t, time.Since(begun), 30*time.Second)
		_, err := other.alice().Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
}

// TestRenewalThatGoesOnFromALoginKeepsItsTokens_I3: the login's write has landed, and before the login
// returns the session has begun to renew the new grant, or has done so, and cannot save.
func TestRenewalThatGoesOnFromALoginKeepsItsTokens_I3(t *testing.T) {
	for name, answer := range map[string]time.Duration{"answered before the login returns": 0, "answered after": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p, renewed := w.process("p1"), make(chan error, 1)
				var once sync.Once
				p.swaps(func(_ []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
					version, err := apply()
					once.Do(func() {
						p.refuseSaves(w.stored().Generation)
						w.as.Fail("/token", clienttest.Fault{WaitAnswer: answer})
						go func() { _, err := p.alice().Renew(t.Context(), nil); renewed <- err }()
						synctest.Wait()
					})
					return version, err
				})
				require.NoError(t, p.login())
				require.NoError(t, <-renewed)
				p.resume()
				_, err := p.alice().Renew(t.Context(), nil)
				require.NoError(t, err)
				require.Empty(t, w.as.Reuses())
				require.Equal(t, 2, w.as.Grants())
			})
		})
	}
}

func TestSessionIsKeptWhileItHoldsUnsavedTokens(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		held := p.alice()
		collect()
		require.Same(t, held, p.alice(), "for as long as anybody holds it")
		p.refuseSaves(1)
		got := (<-p.asks()).access(t)
		pointer := weak.Make(held)
		held = nil
		collect()
		require.NotNil(t, pointer.Value())
		require.Equal(t, got, (<-p.asks()).access(t))
		p.resume()
		time.Sleep(2 * time.Minute)
		require.Equal(t, got, (<-w.process("p2").asks()).access(t))
		collect()
		require.Nil(t, pointer.Value(), "idle and held by nobody")
		require.Equal(t, []string{"RT1"}, w.presented())
	})
}

func collect() {
	for range 3 {
		runtime.GC()
	}
}

package crew

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
)

const (
	taskVariable = "EVERGRANT_E2E_TASK" // holds the task of a test binary that is a worker
	callers      = 2                    // goroutines of a worker that call the API
	pause        = 20 * time.Millisecond
	look         = 5 * time.Millisecond // between two looks at the journals
	callLimit    = 20 * time.Second     // the slowest call waits for a dead holder's lease and a renewal
)

// Task is what a worker does: it calls the API until its standard input ends, or what Act names.
type Task struct {
	Place   Place
	Server  Server
	Journal string        // the path where it writes what happens
	Slow    time.Duration // a token request takes up to this to leave the machine
	Pause   time.Duration // between two calls of the same goroutine; zero: 20 ms
	Act     string        // one of those given to Main; empty: calls
	Program string        // the path of the test binary that is run; empty: this one

	Order json.RawMessage `json:",omitempty"` // what the work given to Run needs to know beside
}

// Act is something that a worker can do.
type Act func(*client.Session, *Journal) error

// Main is a TestMain that fails when goroutines are left. In a process that is a worker it runs no tests; it does its
// task, which is one of acts if it names one.
func Main(m *testing.M, acts map[string]Act) {
	Run(m, func(t Task, j *Journal) error { return t.perform(j, acts) })
}

// Run is Main for workers that open what they need themselves: work does a worker's task.
func Run(m *testing.M, work func(Task, *Journal) error) {
	text := os.Getenv(taskVariable)
	if text == "" {
		goleak.VerifyTestMain(m, gnomekeyring.Bus()...)
		return
	}
	if err := obey(text, work); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func obey(text string, work func(Task, *Journal) error) error {
	var t Task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	j, err := openJournal(t.Journal)
	if err != nil {
		return err
	}
	return work(t, j)
}

func (t Task) perform(j *Journal, acts map[string]Act) error {
	s, err := t.Place.Open()
	if err != nil {
		return err
	}
	config := t.Server.Config(watchedStore{s, j})
	wire := &http.Transport{IdleConnTimeout: time.Second} // as short as the client's own
	config.AuthServerClient = &http.Client{Transport: watchedWire{wire, j, t.Slow}}
	config.OnEvent = func(e client.Event) { j.Write(Told, fmt.Sprint(e.Kind, ": ", e.Reason, ": ", e.Err)) }
	c, err := client.New(config)
	if err != nil {
		return err
	}
	act := acts[t.Act]
	if t.Act == "" {
		act = t.callUntilEOF
	}
	err = act(c.Session(Account), j)
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return errors.Join(err, c.Close(ctx))
}

// callUntilEOF calls the API from all goroutines until the standard input ends. No call is cut short.
func (t Task) callUntilEOF(s *client.Session, j *Journal) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
	}()
	hc := s.HTTPClient()
	between := t.Pause
	if between == 0 {
		between = pause
	}
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for ctx.Err() == nil {
				switch err := Call(hc, t.Server.API); {
				case err == nil:
					j.Write(Called, "")
				case errors.Is(err, client.ErrLoginRequired):
					j.Write(LoginRequired, cause(err))
				default:
					j.Write(Failed, err.Error())
				}
				time.Sleep(between)
			}
		})
	}
	group.Wait()
	return nil
}

// cause is why err requires a login.
func cause(err error) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Cause
	}
	return ""
}

// Call calls the API once.
func Call(hc *http.Client, api string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, api, nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answers %s", resp.Status)
	}
	return nil
}

// Worker is one process.
type Worker struct {
	t       testing.TB
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stderr  bytes.Buffer // whole once the process has ended
	journal string
	read    int64   // how much of the journal is in events
	events  []Event // none is changed or removed
}

// Start starts a worker in the environment env. It is killed, at the latest, when the test ends.
func (t Task) Start(tb testing.TB, env []string) *Worker {
	tb.Helper()
	program := t.Program
	if program == "" {
		var err error
		program, err = os.Executable()
		require.NoError(tb, err)
	}
	text, err := json.Marshal(t)
	require.NoError(tb, err)
	w := &Worker{t: tb, cmd: exec.CommandContext(tb.Context(), program), journal: t.Journal}
	w.cmd.Env = append(env, taskVariable+"="+string(text))
	w.cmd.Stderr = &w.stderr
	w.stdin, err = w.cmd.StdinPipe()
	require.NoError(tb, err)
	require.NoError(tb, w.cmd.Start())
	tb.Cleanup(func() { _ = w.cmd.Wait() }) // the end of the test's context has killed it, or somebody has waited before
	return w
}

// Events are what the worker's journal holds so far; they are not to be changed.
func (w *Worker) Events() []Event {
	w.t.Helper()
	more, read := readJournal(w.t, w.journal, w.read)
	w.events, w.read = append(w.events, more...), w.read+read
	return w.events
}

// Await waits until the journal holds count events that fit, and returns the last of them. The test ends if the worker
// does not do so within limit; what says what it is.
func (w *Worker) Await(what string, limit time.Duration, count int, fit func(Event) bool) Event {
	w.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(look) {
		found := 0
		for _, e := range w.Events() {
			if fit(e) {
				found++
			}
			if found == count {
				return e
			}
		}
		require.True(w.t, time.Now().Before(end), "%s does not %s: %+v", w.journal, what, w.events)
	}
}

// Process is the worker's, for signals.
func (w *Worker) Process() *os.Process { return w.cmd.Process }

// Tell writes a line to the worker's standard input, for an act that reads it.
func (w *Worker) Tell(line string) {
	w.t.Helper()
	_, err := io.WriteString(w.stdin, line+"\n")
	require.NoError(w.t, err)
}

// Dismiss tells the worker to end as programs do; Wait waits for that.
func (w *Worker) Dismiss() {
	w.t.Helper()
	require.NoError(w.t, w.stdin.Close())
}

// Wait waits until the worker has ended, which must be well.
func (w *Worker) Wait() {
	w.t.Helper()
	require.NoError(w.t, w.cmd.Wait(), "%s", &w.stderr)
}

// CPU is how much processor time the worker, which has ended, has taken.
func (w *Worker) CPU() time.Duration {
	return w.cmd.ProcessState.UserTime() + w.cmd.ProcessState.SystemTime()
}

// Kill kills the worker, which must still be alive, and returns when it did.
func (w *Worker) Kill() time.Time {
	w.t.Helper()
	require.NoError(w.t, w.cmd.Process.Kill())
	at := time.Now()
	require.Error(w.t, w.cmd.Wait())
	require.False(w.t, w.cmd.ProcessState.Exited(), "it had ended by itself: %s", &w.stderr)
	return at
}

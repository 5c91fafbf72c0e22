package client

import (
	"context"
	"math"
	"slices"
	"sync"
)

// tasks counts what Close and Wait must wait for: renewals, and tokens that are not saved yet.
type tasks struct {
	context context.Context // ends when Close gives up; parent of every task
	cancel  context.CancelFunc
	closing chan struct{} // closed when Close begins

	mu      sync.Mutex
	closed  bool           // guarded by mu
	running map[*task]bool // guarded by mu
	idle    chan struct{}  // guarded by mu; closed when closed and nothing runs
	begun   uint64         // how many tasks; guarded by mu
	ended   chan struct{}  // guarded by mu; closed when the next task ends; nil: nobody waits for that
	waiting int            // calls of Close and Wait; guarded by mu
	hurried chan struct{}  // guarded by mu; closed while somebody waits
}

// task is one piece of work, with the words in which Close reports it.
type task struct {
	about  string
	number uint64 // Wait waits for those that have begun before it; 0: and for this
}

func (t *tasks) start() {
	t.context, t.cancel = context.WithCancel(context.Background())
	t.closing, t.idle, t.hurried = make(chan struct{}), make(chan struct{}), make(chan struct{})
	t.running = make(map[*task]bool)
}

// begin starts a task; nil when the Client is closed.
func (t *tasks) begin(about string) *task {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun++
	return t.beginLocked(about, t.begun)
}

// beginAside is begin for what Wait does not wait for, because a person has to do something.
func (t *tasks) beginAside(about string) *task {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.beginLocked(about, math.MaxUint64)
}

func (t *tasks) beginLocked(about string, number uint64) *task {
	if t.closed {
		return nil
	}
	task := &task{about, number}
	t.running[task] = true
	return task
}

// follow starts a task, closed or not, while another one runs: what a renewal received must be saved even
// so. nil: the Client is closed and nothing runs any more.
func (t *tasks) follow(about string) *task {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && len(t.running) == 0 {
		return nil
	}
	task := &task{about, 0}
	t.running[task] = true
	return task
}

func (t *tasks) end(task *task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, task)
	if t.ended != nil {
		close(t.ended)
		t.ended = nil
	}
	if t.closed && len(t.running) == 0 {
		t.finish()
	}
}

// finish is called with mu held.
func (t *tasks) finish() {
	select {
	case <-t.idle:
	default:
		close(t.idle)
		t.cancel()
	}
}

// close lets nothing new begin and waits for what runs. When ctx ends first it cancels the rest and
// says what that was.
func (t *tasks) close(ctx context.Context) (left []string) {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		t.hurryLocked()
		close(t.closing)
		if len(t.running) == 0 {
			t.finish()
		}
	}
	t.mu.Unlock()
	select {
	case <-t.idle:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel()
	return t.leftLocked(math.MaxUint64)
}

// wait waits for what runs and what comes of it. When ctx ends first it says what that is.
func (t *tasks) wait(ctx context.Context) (left []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hurryLocked()
	defer t.calmLocked()
	newest := t.begun
	for left = t.leftLocked(newest); len(left) > 0 && ctx.Err() == nil; left = t.leftLocked(newest) {
		if t.ended == nil {
			t.ended = make(chan struct{})
		}
		ended := t.ended
		t.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
		}
		t.mu.Lock()
	}
	return left
}

// leftLocked says what runs of the tasks up to a number.
func (t *tasks) leftLocked(newest uint64) (left []string) {
	for task := range t.running {
		if task.number <= newest {
			left = append(left, task.about)
		}
	}
	slices.Sort(left)
	return left
}

// hurryLocked has savers hurry, calmLocked undoes it.
func (t *tasks) hurryLocked() {
	if t.waiting++; t.waiting == 1 {
		close(t.hurried)
	}
}

func (t *tasks) calmLocked() {
	if t.waiting--; t.waiting == 0 {
		t.hurried = make(chan struct{})
	}
}

// hurry is closed if somebody waits for what is unsaved, or when somebody does.
func (t *tasks) hurry() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hurried
}

func (t *tasks) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// detach returns a context that keeps the values of ctx but ends only when Close gives up.
func (t *tasks) detach(ctx context.Context) (context.Context, context.CancelFunc) {
	detached, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(t.context, func() { cancel(ErrClosed) })
	return detached, func() { stop(); cancel(nil) }
}

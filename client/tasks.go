package client

import (
	"context"
	"slices"
	"sync"
)

// tasks counts what Close must wait for: renewals, and tokens that are not saved yet.
type tasks struct {
	context context.Context // ends when Close gives up; parent of every task
	cancel  context.CancelFunc
	closing chan struct{} // closed when Close begins: savers hurry

	mu      sync.Mutex
	closed  bool           // guarded by mu
	running map[*task]bool // guarded by mu
	idle    chan struct{}  // guarded by mu; closed when closed and nothing runs
}

// task is one piece of work, with the words in which Close reports it.
type task struct{ about string }

func (t *tasks) start() {
	t.context, t.cancel = context.WithCancel(context.Background())
	t.closing, t.idle = make(chan struct{}), make(chan struct{})
	t.running = make(map[*task]bool)
}

// begin starts a task; nil when the Client is closed.
func (t *tasks) begin(about string) *task {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	task := &task{about}
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
	task := &task{about}
	t.running[task] = true
	return task
}

func (t *tasks) end(task *task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, task)
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
	for task := range t.running {
		left = append(left, task.about)
	}
	slices.Sort(left)
	t.cancel()
	return left
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

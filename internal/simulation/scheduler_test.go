package simulation

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// step is something that a process wants to do to the world, and waits for.
type step struct {
	process *process
	kind    string // load, swap, send, answer, call
	what    string // tells steps of one kind and process apart, for an order that does not depend on goroutines
	release chan fault
}

// fault is what goes wrong with a step; "" is nothing.
type fault string

// scheduler releases steps one at a time.
type scheduler struct {
	chance *rand.Rand
	began  time.Time

	mu      sync.Mutex
	pending []*step  // guarded by mu
	log     []string // guarded by mu
	asides  []string // noted since the world last rested; guarded by mu
	loud    func(line string)
}

func newScheduler(seed uint64) *scheduler {
	return &scheduler{chance: rand.New(rand.NewPCG(seed, 0)), began: time.Now()}
}

// await waits until the step is released, the process has died or ctx has ended.
func (s *scheduler) await(ctx context.Context, p *process, kind, what string) (fault, error) {
	st := &step{p, kind, what, make(chan fault, 1)}
	s.mu.Lock()
	s.pending = append(s.pending, st)
	s.mu.Unlock()
	defer s.withdraw(st)
	select {
	case <-p.dead:
		return "", errDead
	default:
	}
	select {
	case f := <-st.release:
		return f, nil
	case <-p.dead:
		return "", errDead
	case <-ctx.Done():
		return "", fmt.Errorf("%w: %w", ctx.Err(), context.Cause(ctx))
	}
}

func (s *scheduler) withdraw(st *step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(other *step) bool { return other == st })
}

// rest waits until nothing moves any more. What was noted meanwhile came from goroutines that ran side by side: it
// is logged in an order of its own.
func (s *scheduler) rest() {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.asides)
	for _, line := range s.asides {
		s.logLocked(line)
	}
	s.asides = nil
}

// ready waits until the world rests, and returns the steps that processes which are not stopped wait for, in an
// order of their own.
func (s *scheduler) ready() []*step {
	s.rest()
	s.mu.Lock()
	defer s.mu.Unlock()
	steps := slices.DeleteFunc(slices.Clone(s.pending), func(st *step) bool { return st.process.stopped })
	slices.SortStableFunc(steps, func(a, b *step) int {
		return cmp.Or(cmp.Compare(a.process.number, b.process.number), strings.Compare(a.kind, b.kind), strings.Compare(a.what, b.what))
	})
	return steps
}

// tick lets a moment pass, so that no two things begin at the same instant: their time-outs would end at the same
// instant too, and which of them is then seen first is not up to the seed.
func (s *scheduler) tick() { time.Sleep(1009 * time.Nanosecond) }

// let releases a step, with a fault or without.
func (s *scheduler) let(st *step, f fault) {
	s.tick()
	s.note("%s: %s %s %s", st.process.name, st.kind, st.what, f)
	s.withdraw(st)
	st.release <- f
	s.rest()
}

// pass lets time pass.
func (s *scheduler) pass(d time.Duration) {
	s.tick()
	s.note("%v pass", d)
	time.Sleep(d)
	s.rest()
}

// note logs what the scheduler does, aside what happens upon it.
func (s *scheduler) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logLocked(fmt.Sprintf(format, args...))
}

func (s *scheduler) aside(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asides = append(s.asides, "    "+fmt.Sprintf(format, args...))
}

func (s *scheduler) logLocked(line string) {
	line = fmt.Sprintf("%12v  %s", time.Since(s.began), strings.TrimRight(line, " "))
	s.log = append(s.log, line)
	if s.loud != nil {
		s.loud(line)
	}
}

// one draws one of choices.
func one[T any](chance *rand.Rand, choices ...T) T { return choices[chance.IntN(len(choices))] }

package simulation

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/evergrant/evergrant/client"
)

// act has somebody do something: a caller, a person, an administrator, the machine.
func (w *world) act() {
	type choice struct {
		weight int
		do     func()
	}
	living := w.living()
	var choices []choice
	add := func(theme string, weight int, do func()) {
		if theme == "" || w.has(theme) {
			choices = append(choices, choice{weight, do})
		}
	}
	if len(living) > 0 {
		p := living[w.chance.IntN(len(living))]
		if len(w.waiting()) < 8 {
			add("", 20, func() { w.callSome(living) })
		}
		add("renew", 3, func() { w.call(p, "renew", "") })
		add("crash", 3, func() { w.crash(p) })
		add("stop", 3, func() { w.stop(w.busiest(living)) })
		add("overtake", 5, func() { w.overtake(w.busiest(living)) })
		add("sleep", 2, func() { w.sleep() })
		add("close", 2, func() { w.close(p) })
		if !w.credentials {
			add("person", 2, func() { w.person(p, "login") })
			add("person", 2, func() { w.person(p, "adopt") })
			add("person", 2, func() { w.person(p, "logout") })
			add("person", 2, func() { w.changeOfMind(p) })
		}
	}
	if len(living) < w.scenario.processes && len(w.everybody()) < 12 {
		add("", 6, func() { w.start() })
	}
	for _, p := range w.everybody() {
		if p.stopped && !p.isDead() {
			add("", 8, func() { w.resume(p) })
		}
	}
	if waiting := w.waiting(); len(waiting) > 0 {
		c := waiting[w.chance.IntN(len(waiting))]
		add("cancel", 6, func() { w.note("call %s is given up", c.id); c.cancel(); w.rest() })
	}
	add("revoke", 3, func() { w.note("all access tokens are revoked"); w.as.RevokeAccessToken("") })
	add("kill", 1, func() { w.note("the grant is revoked"); w.judge.revoked(); w.as.KillAll() })
	add("reject", 2, func() { w.rejectAll() })
	add("outage", 3, func() {
		w.outage = one(w.chance, "", "", "down", "read-only")
		w.note("the store is %s", w.outage)
	})
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	if total == 0 {
		w.pass(time.Second)
		return
	}
	draw := w.chance.IntN(total)
	for _, c := range choices {
		if draw -= c.weight; draw < 0 {
			c.do()
			return
		}
	}
}

func (w *world) rejectAll() {
	w.as.Change(func() {
		w.api.RejectAll = !w.api.RejectAll
		w.note("the resource server rejects everything: %v", w.api.RejectAll)
	})
}

// crash kills a process, now and then just after a request of it has left, which the server then gets later.
func (w *world) crash(p *process) {
	for _, st := range w.ready() {
		if st.process == p && st.kind == "send" && w.chance.IntN(2) == 0 {
			w.let(st, "late")
			break
		}
	}
	w.kill(p)
}

// stop stops a process as SIGSTOP does, resume lets it go on.
func (w *world) stop(p *process) {
	w.note("%s is stopped", p.name)
	p.stopped = true
}

// overtake stops a process for longer than a lease, while the others go on: until one of them holds the lease, or has
// sent its request too. Then, perhaps, the first one comes to its end before the answer to the second one does.
func (w *world) overtake(p *process) {
	w.stop(p)
	for range 40 {
		w.letAll("", "load", "swap")
		if p.overrun {
			break
		}
		w.pass(time.Second)
	}
	depth := w.chance.IntN(4)
	if depth > 0 {
		w.letAll(one(w.chance, fault(""), "", "lose request"), "send")
	}
	w.resume(p)
	if depth > 1 {
		w.finish(p)
	}
	if depth > 2 {
		w.pass(6 * time.Second)
		w.letAll("", "swap")
		w.letAll("", "load")
	}
}

// changeOfMind has a person log out and in again while others are in the middle of something.
func (w *world) changeOfMind(p *process) {
	w.person(p, "logout")
	w.finish(p)
	w.person(p, "adopt")
	w.finish(p)
}

// finish lets a process do what it is at, as far as that goes without waiting.
func (w *world) finish(p *process) {
	for range 8 {
		for _, st := range w.ready() {
			if st.process == p {
				w.let(st, "")
			}
		}
	}
}

// letAll releases the steps of these kinds that are waited for.
func (w *world) letAll(f fault, kinds ...string) {
	for _, st := range w.ready() {
		if slices.Contains(kinds, st.kind) {
			w.let(st, f)
		}
	}
}

// busiest is one that is in the middle of a renewal, more often than not.
func (w *world) busiest(living []*process) *process {
	for _, st := range w.ready() {
		if (st.kind == "send" || st.kind == "answer" || st.kind == "swap") && w.chance.IntN(3) > 0 {
			return st.process
		}
	}
	return living[w.chance.IntN(len(living))]
}

func (w *world) resume(p *process) {
	if p.stopped && !p.isDead() {
		w.note("%s goes on", p.name)
		p.stopped = false
	}
}

// sleep has the machine sleep with all that runs on it: their monotonic clocks stand still.
func (w *world) sleep() {
	d := one(w.chance, 5*time.Second, 16*time.Second, 25*time.Second, 10*time.Minute)
	w.note("the machine sleeps for %v", d)
	awake := w.living()
	for _, p := range awake {
		p.stopped = true
	}
	w.naps = append(w.naps, nap{time.Now(), d})
	w.pass(d)
	for _, p := range awake {
		p.jump(0, -d)
		p.stopped = false
	}
	w.note("the machine wakes up")
}

// close closes a process's Client, in time or not.
func (w *world) close(p *process) {
	w.note("%s closes", p.name)
	p.closing = true
	limit, calm := 20*time.Minute, w.calm
	if !calm {
		limit = one(w.chance, 0, time.Second, time.Minute)
	}
	w.do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		err := p.client.Close(ctx)
		if err != nil && ctx.Err() == nil {
			w.judge.rule("Close of %s does not wait: %v", p.name, err)
		}
		w.judge.closed(p, err, calm)
		w.aside("%s is closed: %v", p.name, err)
		if !p.isDead() {
			p.diedAt = time.Now()
			close(p.dead)
		}
	})
}

// act is something under way that a person or a program has begun.
type act struct {
	mu   sync.Mutex
	done bool // guarded by mu
}

func (a *act) isDone() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.done }

func (w *world) do(f func()) {
	w.tick()
	a := &act{}
	w.acts = append(w.acts, a)
	go func() {
		f()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.done = true
	}()
	w.rest()
}

// person has a person log in or out, or the program adopt a token.
func (w *world) person(p *process, what string) {
	w.note("%s: %s begins", p.name, what)
	end := w.judge.acting(p, what)
	w.do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s := p.alice
		var err error
		switch what {
		case "adopt":
			token := w.as.Login("read")
			w.judge.granted(token)
			if err = s.Adopt(ctx, token); err == nil {
				w.judge.adopted(p, token.AccessToken)
			}
		case "login":
			err = w.login(ctx, s)
		case "logout":
			err = s.Logout(ctx)
		}
		w.aside("%s: %s ends: %v", p.name, what, err)
		end(err)
	})
}

// login logs in as a web backend does.
func (w *world) login(ctx context.Context, s *client.Session) error {
	pending, err := s.Start(ctx, client.AuthCode{})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, pending.URL, nil)
	if err != nil {
		return err
	}
	resp, err := w.as.HTTPClient("").Transport.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	callback, err := resp.Location()
	if err != nil {
		return err
	}
	return s.Finish(ctx, pending, callback.Query())
}

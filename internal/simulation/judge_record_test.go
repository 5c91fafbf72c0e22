package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/record"
)

// describe names what a process wants to write.
func describe(value []byte) string {
	if len(value) == 0 {
		return "nothing"
	}
	r, err := record.Decode(value)
	if err != nil {
		return "what nobody can read"
	}
	text := fmt.Sprintf("generation %d, lease %d", r.Generation, r.Leases)
	if r.Lease != nil {
		text += fmt.Sprintf(" held, beat %d", r.Lease.Beat)
	}
	if r.Mark != nil {
		text += ", marked " + string(r.Mark.Verdict)
	}
	return text
}

// stored notes what is durable now.
func (j *judge) stored(value []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r, err := record.Decode(value); err == nil {
		j.durableLocked(r)
	}
}

func (j *judge) durableLocked(r *record.Record) {
	for _, access := range r.Access {
		if at := j.access[access.Token]; at != nil {
			at.durable = true
		}
	}
}

// failedLoad notes that a process could not read the store. A refusal that it could not compare with the store is
// not yet believed, and so it may ask again.
func (j *judge) failedLoad(p *process) {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(p.seen.believed)
	p.seen.failing = true
	for token := range p.seen.received {
		p.seen.unsaved[token] = true // a write that met a conflict may be given up here
	}
}

// loaded notes that a process has looked into the store.
func (j *judge) loaded(p *process) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p.seen.loads++
	if now := j.current(); now == nil || now.Lease != nil && now.Lease.Owner != p.owner {
		clear(p.seen.believed) // somebody else is at it: the refusal may be about what he has replaced
	}
}

// refusedSwap notes that the store has told a process that a write failed.
func (j *judge) refusedSwap(p *process, value []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p.seen.failing = true
	r, err := record.Decode(value)
	if err != nil {
		return
	}
	for _, access := range r.Access {
		if at := j.access[access.Token]; at != nil && !at.durable && p.seen.received[access.Token] {
			p.seen.saveFailed = true
			p.seen.unsaved[access.Token] = true
			j.excuseLocked("save error")
		}
	}
}

// swapped judges a write that the store has taken: the history of the record.
func (j *judge) swapped(p *process, before, after []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var old, now *record.Record
	if len(before) > 0 {
		old, _ = record.Decode(before)
	}
	if len(after) > 0 {
		var err error
		if now, err = record.Decode(after); err != nil {
			j.ruleLocked("%s writes what nobody can read: %v", p.name, err)
			return
		}
		j.durableLocked(now)
	}
	switch {
	case now == nil:
		if p.seen.acts["logout"] == 0 {
			j.ruleLocked("I6: %s deletes the record", p.name)
		}
		for _, other := range j.world.everybody() {
			clear(other.seen.held) // whoever looks forgets what it has
		}
		return
	case old == nil || old.Grant != now.Grant:
		if !p.isLoggingIn() && !(old == nil && j.world.credentials) {
			j.ruleLocked("I6: %s writes another grant than the store held, and nobody is logging in", p.name)
		}
		clear(j.excuses) // what has happened to the old grant excuses nothing that happens to the new one
	default:
		j.wentOnLocked(p, old, now)
		if bytes.Contains(before, []byte("from_the_future")) && !bytes.Contains(after, []byte("from_the_future")) {
			j.ruleLocked("%s drops a member of the record that it does not know", p.name)
		}
	}
	j.leasedLocked(p, old, now)
}

// wentOnLocked judges how a record of one grant changes.
func (j *judge) wentOnLocked(p *process, old, now *record.Record) {
	newer := now.Generation > old.Generation
	switch {
	case newer && !p.seen.numbers[now.Generation]:
		j.ruleLocked("D9: %s saves generation %d, which is the number of no lease of it", p.name, now.Generation)
	case now.Generation < old.Generation || now.Leases < old.Leases:
		j.ruleLocked("I6: %s takes the record back from generation %d to %d, lease %d to %d", p.name, old.Generation, now.Generation, old.Leases, now.Leases)
	case now.RefreshToken != old.RefreshToken && (!newer || !p.seen.received[now.RefreshToken]):
		j.ruleLocked("I6: %s puts a refresh token into the record that it has not received", p.name)
	case now.Mark != nil && (old.Mark == nil || !old.Mark.At.Equal(now.Mark.At)) && newer:
		j.ruleLocked("I6: %s marks tokens that it has just received", p.name)
	case now.Mark != nil && now.Mark.Verdict == record.Dead && (old.Mark == nil || old.Mark.Verdict != record.Dead):
		if !p.seen.refused[old.RefreshToken] || old.Lease == nil || old.Lease.Owner != p.owner {
			j.ruleLocked("I6: %s marks as dead what the server has not refused to it under its lease", p.name)
		}
	case now.Mark == nil && old.Mark != nil && !newer:
		j.ruleLocked("I6: %s takes a mark away without new tokens", p.name)
	}
	for resource, access := range old.Access {
		switch kept := now.Access[resource]; {
		case kept == nil && (resource == "" || !j.hasEndedLocked(access.Token)):
			j.ruleLocked("%s drops the access token for %q", p.name, resource)
		case kept != nil && kept.Token != access.Token && !p.seen.received[kept.Token]:
			j.ruleLocked("%s puts an access token for %q into the record that it has not received", p.name, resource)
		}
	}
}

// hasEndedLocked reports whether an access token has ended, or may be believed to have.
func (j *judge) hasEndedLocked(token string) bool {
	at := j.access[token]
	return at != nil && (at.doubted || j.world.clocks || time.Since(at.issued) > at.life-time.Second)
}

// leasedLocked judges what a write does to the lease.
func (j *judge) leasedLocked(p *process, old, now *record.Record) {
	if now.Lease != nil {
		if _, known := j.beats[beat(now.Lease)]; !known {
			j.beats[beat(now.Lease)] = time.Now()
		}
	}
	var held *record.Lease
	if old != nil && old.Grant == now.Grant {
		held = old.Lease
	}
	if now.Lease != nil && (held == nil || held.Attempt != now.Lease.Attempt) {
		p.owner, p.seen.grant, p.seen.lease = now.Lease.Owner, now.Grant, now.Lease.Attempt
		p.seen.numbers[now.Leases], p.seen.doubt = true, !now.Unanswered.IsZero()
	}
	if held == nil || held.Owner == p.owner {
		return
	}
	if now.Generation > old.Generation {
		j.world.aside("%s saves beside the lease of another", p.name)
	}
	switch {
	case now.Lease == nil:
		j.ruleLocked("%s takes away a lease that is not its own", p.name)
	case now.Lease.Attempt != held.Attempt:
		j.tookOverLocked(p, held)
	}
}

// tookOverLocked judges a takeover: the holder is dead, or has not stirred for a lease's length of time in which
// the machine was awake.
func (j *judge) tookOverLocked(p *process, held *record.Lease) {
	last := j.beats[beat(held)]
	unstirred := time.Since(last) - j.world.sleptSince(last)
	holder := j.ownerLocked(held.Owner)
	if holder == nil {
		j.ruleLocked("%s takes over the lease of nobody", p.name)
		return
	}
	since, gone := holder.goneSince(held.Attempt)
	switch {
	case gone && j.world.scenario.store == "local" && held.Living:
		if time.Since(since) < grace && unstirred < leaseLength {
			j.ruleLocked("I1: %s takes over from %s, which is gone for %v only", p.name, holder.name, time.Since(since))
		}
	case !holder.isDead():
		j.world.aside("%s takes over from %s, which lives", p.name, holder.name)
		if unstirred < leaseLength {
			j.ruleLocked("I1: %s takes over from %s, which lives and was heard of %v ago", p.name, holder.name, unstirred)
		}
		if j.isAskingLocked(holder) && !j.world.has("store") && !j.world.has("outage") && !j.world.wants(holder, "swap", "load") {
			j.ruleLocked("%s waits for an answer and does not extend its lease, which %s takes over", holder.name, p.name)
		}
		holder.overrun = true
		j.excuseLocked("overrun")
	case unstirred < leaseLength:
		j.ruleLocked("I1: %s takes over the lease of %s, which stands for %v only", p.name, holder.name, unstirred)
	}
}

// isAskingLocked reports whether a process has a token request under way.
func (j *judge) isAskingLocked(p *process) bool {
	for _, seen := range j.flights {
		if seen.by == p {
			return true
		}
	}
	return false
}

// wants reports whether a process waits for a step of one of these kinds.
func (w *world) wants(p *process, kinds ...string) bool {
	w.scheduler.mu.Lock()
	defer w.scheduler.mu.Unlock()
	return slices.ContainsFunc(w.pending, func(st *step) bool { return st.process == p && slices.Contains(kinds, st.kind) })
}

func (j *judge) ownerLocked(owner string) *process {
	for _, p := range j.world.everybody() {
		if p.owner == owner {
			return p
		}
	}
	return nil
}

// sleptSince is how long the machine has slept since then.
func (w *world) sleptSince(then time.Time) time.Duration {
	var total time.Duration
	for _, nap := range w.naps {
		if nap.at.After(then) || nap.at.Equal(then) {
			total += nap.long
		}
	}
	return total
}

// nap is a time in which the machine slept.
type nap struct {
	at   time.Time
	long time.Duration
}

// mayBeLost says why the grant may be lost at this kind of server; "" when nothing excuses it. The lists are those
// of model checking: P4 for servers that are strict, P3 for servers with a leeway.
func (j *judge) mayBeLostLocked() string {
	has := func(why string) bool { return j.excuses[why] }
	either := func(all ...string) string {
		for _, why := range all {
			if has(why) {
				return why
			}
		}
		return ""
	}
	switch j.world.server {
	case "no rotation", "no refresh token":
		return ""
	case "until used":
		if has("save error") && (has("crash holding") || has("crash in flight")) {
			return "save error and crash"
		}
		return either("late request", "crash in flight", "overrun")
	case "until used, no kill":
		if has("save error") && (has("crash holding") || has("crash in flight")) {
			return "save error and crash"
		}
		return either("late request", "overrun")
	}
	return either("lost answer", "late request", "crash in flight", "crash holding", "overrun")
}

// final judges whether the grant is still usable when everything is well again. It reports whether that is settled.
func (j *judge) final(c *caller) (settled bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := errors.AsType[*client.Error](c.err)
	if c.err == nil {
		return true
	}
	if !ok {
		j.ruleLocked("P6: %v", c.err)
		return true
	}
	now := j.current()
	switch {
	case j.world.credentials:
		j.ruleLocked("P6: the client's own grant fails: %v", c.err)
	case !errors.Is(e, client.ErrLoginRequired):
		return false
	case now == nil && e.Cause == "absent":
	case now == nil:
		j.ruleLocked("P6: %s says %q, and there is no record", c.process.name, e.Cause)
	case j.refresh[now.RefreshToken] == nil:
		j.ruleLocked("P6: the store holds a refresh token that was never issued")
	case j.refresh[now.RefreshToken].revoked:
	case j.mayBeLostLocked() == "":
		j.ruleLocked("the grant is lost, and nothing excuses it: %v", e)
	case e.Cause != "lost answer" && !j.excuses["overrun"] && !j.excuses["late request"]:
		j.ruleLocked("the grant is lost for %s, and the cause is said to be %q", j.mayBeLostLocked(), e.Cause)
	}
	return true
}

// closing judges what is left at the end.
func (j *judge) closing() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.current(); r != nil {
		j.shownLocked(fmt.Sprintf("%+v", r))
	}
}

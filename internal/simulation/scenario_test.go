package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/client/clienttest"
)

// scenario is what a seed draws before anything happens: the kinds of server and store, and what may go wrong.
type scenario struct {
	processes   int
	server      string
	policy      clienttest.Policy
	store       string // plain, local, waiting
	themes      []string
	rate        int  // of steps that fail, in percent
	budget      int  // how many may
	turns       int  // before everything heals
	clocks      bool // processes have wrong clocks
	credentials bool // a grant that needs no person
}

// themes are the kinds of trouble; a scenario has a few of them, so that most histories have a simple cause.
var themes = []string{
	"overtake", "network", "busy", "store", "outage", "crash", "stop", "sleep", "slow", "person", "close", "revoke", "kill", "reject", "cancel", "renew", "resources",
}

func drawScenario(chance *rand.Rand) scenario {
	sc := scenario{
		processes:   1 + chance.IntN(4),
		store:       one(chance, "plain", "local", "waiting"),
		rate:        one(chance, 5, 15, 40),
		budget:      one(chance, 1, 2, 3, 8),
		turns:       one(chance, 40, 80, 160),
		clocks:      chance.IntN(5) == 0,
		credentials: chance.IntN(12) == 0,
	}
	for range chance.IntN(5) {
		sc.themes = append(sc.themes, one(chance, themes...))
	}
	if sc.has("overtake") { // its interesting part is what happens to the two that then hold tokens
		sc.themes = append(sc.themes, "slow")
		sc.processes = max(sc.processes, 2)
	}
	if sc.has("kill") && chance.IntN(2) == 0 { // and somebody logs in again
		sc.themes = append(sc.themes, "person")
	}
	slices.Sort(sc.themes)
	sc.themes = slices.Compact(sc.themes)
	sc.drawPolicy(chance)
	return sc
}

// drawPolicy draws one of the kinds of servers that there are, and what it says of its tokens.
func (sc *scenario) drawPolicy(chance *rand.Rand) {
	p := &sc.policy
	sc.server = one(chance, "strict", "strict", "strict", "no kill", "dex", "empty", "leeway", "leeway same", "same answer", "until used", "until used, no kill", "no rotation", "no refresh token")
	switch sc.server {
	case "no kill":
		p.KeepFamily = true
	case "dex":
		p.KeepFamily, p.KeepAccessToken = true, true
		p.DeadStatus, p.DeadBody = 400, `{"error":"invalid_request","error_description":"Refresh token is invalid or has already been claimed by another client."}`
	case "empty":
		p.DeadStatus = 400
	case "leeway":
		p.Leeway = 30 * time.Second
	case "leeway same":
		p.Leeway, p.LeewaySame = 30*time.Second, true
	case "same answer": // to a replay: with the access token of the first one, and a whole life of it
		p.Leeway, p.LeewaySame = 30*time.Second, true
	case "until used":
		p.LeewayUntilUsed = true
	case "until used, no kill":
		p.LeewayUntilUsed, p.KeepFamily = true, true
	case "no rotation":
		p.NoRotation = true
	case "no refresh token":
		p.NoRefreshToken = true
	}
	p.KeepAccessToken = p.KeepAccessToken || chance.IntN(2) == 0
	p.Lifetime = one(chance, time.Second, 5*time.Second, time.Minute, time.Hour)
	switch chance.IntN(8) {
	case 0:
		p.Answer = map[string]any{"expires_in": nil}
	case 1:
		p.Answer = map[string]any{"expires_in": 0}
	case 2:
		p.Answer = map[string]any{"refresh_in": int(p.Lifetime/time.Second) / 2}
	}
}

func (sc *scenario) has(theme string) bool { return slices.Contains(sc.themes, theme) }

func (sc *scenario) rotates() bool { return !sc.policy.NoRotation && !sc.policy.NoRefreshToken }

func (sc *scenario) String() string {
	return fmt.Sprintf("%d processes, server %s, tokens of %v %v, store %s, %s, %d %% of steps fail, at most %d, wrong clocks %v, client credentials %v",
		sc.processes, sc.server, sc.policy.Lifetime, sc.policy.Answer, sc.store, strings.Join(sc.themes, " "), sc.rate, sc.budget, sc.clocks, sc.credentials)
}

// faults are the ways in which a step may fail.
func (sc *scenario) faults(kind string) []fault {
	var all []fault
	switch {
	case kind == "send" && sc.has("network"):
		all = append(all, "unreachable", "lose request", "lose answer", "late", "cut", "500", "500 after", "page under 200")
	case kind == "call" && sc.has("network"):
		all = append(all, "reset")
	case kind == "load" && sc.has("store"):
		all = append(all, "before")
	case kind == "swap" && sc.has("store"):
		all = append(all, "before", "after")
	}
	if kind == "send" && sc.has("busy") {
		all = append(all, "429 seconds", "503 date", "page under 403")
	}
	return all
}

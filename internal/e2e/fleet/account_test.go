package fleet_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

// account is what is known, after all, of every refresh token: from the server's ledger, the proxy's log and the journals
// of the workers. Refresh tokens are named as in a ledger.
type account struct {
	refreshes []ledger.TokenRequest
	wire      []exchange
	kills     map[string]int       // of processes that had sent the token and not noted what came of it
	held      map[string]time.Time // when the token was first seen in the store
	window    time.Duration        // how long the server takes a spent token whose successors are not used
}

// exchange is a token request as the proxy saw it.
type exchange struct {
	at    time.Time
	token string
	do    tcpproxy.Action
}

// forever is the window of a server that takes a spent token until a successor is used.
const forever = 1<<63 - 1

// stranded are the tokens that the server has spent without any successor reaching the store, each with its first
// spending. Their grants are lost, unless the server takes them again.
func (a account) stranded() map[string]ledger.TokenRequest {
	held := map[string]bool{}
	for token := range a.held {
		held[token] = true
	}
	for _, line := range a.refreshes {
		held[line.Presented] = true // or it could not have been presented
	}
	spent, saved := map[string]ledger.TokenRequest{}, map[string]bool{}
	for _, line := range a.refreshes {
		if line.Status != http.StatusOK {
			continue
		}
		if _, again := spent[line.Presented]; !again {
			spent[line.Presented] = line
		}
		if held[line.Issued] {
			saved[line.Presented] = true
		}
	}
	for token := range saved {
		delete(spent, token)
	}
	return spent
}

// refused are the tokens that the server has refused, each with the first refusal.
func (a account) refused() map[string]ledger.TokenRequest {
	refused := map[string]ledger.TokenRequest{}
	for _, line := range a.refreshes {
		if _, again := refused[line.Presented]; !again && line.Status != http.StatusOK {
			refused[line.Presented] = line
		}
	}
	return refused
}

// cuts counts the connections with this token that the proxy has cut by one of the given actions.
func (a account) cuts(token string, by ...tcpproxy.Action) int {
	n := 0
	for _, e := range a.wire {
		if e.token == token && slices.Contains(by, e.do) {
			n++
		}
	}
	return n
}

// isSettled reports whether the server has refused every token that it has spent for nobody.
func (a account) isSettled() bool {
	refused := a.refused()
	for token := range a.stranded() {
		if _, ok := refused[token]; !ok {
			return false
		}
	}
	return true
}

// faults says what is wrong with the account, if the given number of losses has been reported; nothing should be.
func (a account) faults(losses int) []string {
	var faults []string
	fault := func(token, format string, values ...any) {
		faults = append(faults, token+": "+fmt.Sprintf(format, values...))
	}
	stranded, refused := a.stranded(), a.refused()
	for token, first := range stranded {
		answers := a.cuts(token, tcpproxy.CutAnswer)
		if answers+a.kills[token] == 0 {
			fault(token, "spent for nobody, though no answer was cut and no receiver killed")
		}
		if no, ok := refused[token]; !ok {
			fault(token, "spent for nobody, and never presented again")
		} else if lasted := no.Time.Sub(first.Time); lasted < a.window {
			fault(token, "refused %v after it was spent, in the server's leeway", lasted)
		}
	}
	for token, no := range refused {
		if _, ok := stranded[token]; !ok {
			fault(token, "refused, though it was not spent or a successor was saved")
		}
		if no.Status != http.StatusBadRequest || no.Error != "invalid_grant" {
			fault(token, "the server is not well: %d %s", no.Status, no.Error)
		}
	}
	if losses != len(stranded) {
		fault("all", "%d losses were reported, and %d tokens spent for nobody", losses, len(stranded))
	}
	return append(faults, a.repetitions()...)
}

// repetitions says which tokens were sent more often than I1 has it.
func (a account) repetitions() []string {
	var faults []string
	times, successors := map[string]int{}, map[string][]string{}
	for _, line := range a.refreshes {
		if line.Status == http.StatusOK {
			successors[line.Presented] = append(successors[line.Presented], line.Issued)
		}
	}
	for _, e := range a.wire {
		times[e.token]++
		for _, next := range successors[e.token] {
			if since, ok := a.held[next]; ok && e.at.After(since) {
				faults = append(faults, e.token+": sent with its successor in the store")
			}
		}
	}
	for token, sent := range times {
		if reasons := a.cuts(token, tcpproxy.CutRequest, tcpproxy.CutAnswer) + a.kills[token]; sent > 1+reasons {
			faults = append(faults, fmt.Sprintf("%s: sent %d times, with %d reasons to repeat it", token, sent, reasons))
		}
	}
	return faults
}

// Each account has one fault, or none; the one that finds faults is tested here because nothing else would show that it does.
func TestAccountsAreJudged(t *testing.T) {
	start := time.Now()
	after := func(d time.Duration) time.Time { return start.Add(d) }
	request := func(d time.Duration, presented, issued string) ledger.TokenRequest {
		if issued == "" {
			return ledger.TokenRequest{Time: after(d), Presented: presented, Status: http.StatusBadRequest, Error: "invalid_grant"}
		}
		return ledger.TokenRequest{Time: after(d), Presented: presented, Issued: issued, Status: http.StatusOK}
	}
	rotated := []ledger.TokenRequest{request(0, "a", "b"), request(2, "b", "c")}
	lost := []ledger.TokenRequest{request(0, "a", "b"), request(5, "a", "")}
	heldC := map[string]time.Time{"c": after(3)}
	for _, tt := range []struct {
		name   string
		of     account
		losses int
		fault  string // what it is about; empty: all is well
	}{
		{name: "rotation", of: account{refreshes: rotated, held: heldC}},
		{name: "an answer cut, the loss reported", losses: 1,
			of: account{refreshes: lost, wire: []exchange{{after(0), "a", tcpproxy.CutAnswer}, {after(5), "a", 0}}}},
		{name: "a receiver killed, the loss reported", losses: 1, of: account{refreshes: lost, kills: map[string]int{"a": 1}}},
		{name: "an answer cut, the leeway used",
			of: account{refreshes: []ledger.TokenRequest{request(0, "a", "b"), request(1, "a", "b"), request(2, "b", "c")}, held: heldC,
				wire: []exchange{{after(0), "a", tcpproxy.CutAnswer}, {after(1), "a", 0}}, window: forever}},
		{name: "an answer cut, the leeway over", losses: 1,
			of: account{refreshes: lost, wire: []exchange{{after(0), "a", tcpproxy.CutAnswer}}, window: 5}},
		{name: "an answer cut, refused in the leeway", losses: 1, fault: "a: refused 5ns",
			of: account{refreshes: lost, wire: []exchange{{after(0), "a", tcpproxy.CutAnswer}}, window: 6}},
		{name: "a loss without a reason", losses: 1, fault: "a: spent for nobody, though", of: account{refreshes: lost}},
		{name: "a request cut is no reason", losses: 1, fault: "a: spent for nobody, though",
			of: account{refreshes: lost, wire: []exchange{{after(0), "a", tcpproxy.CutRequest}}}},
		{name: "a loss that nobody reports", losses: 0, fault: "all: 0 losses", of: account{refreshes: lost, kills: map[string]int{"a": 1}}},
		{name: "a report without a loss", losses: 1, fault: "all: 1 losses", of: account{refreshes: rotated, held: heldC}},
		{name: "a lost token forgotten", losses: 1, fault: "a: spent for nobody, and never",
			of: account{refreshes: lost[:1], kills: map[string]int{"a": 1}}},
		{name: "a token refused whose successor is saved", fault: "a: refused, though",
			of: account{refreshes: append(rotated, request(9, "a", "")), held: heldC}},
		{name: "an unknown refusal", losses: 1, fault: "a: the server is not well", of: account{kills: map[string]int{"a": 1},
			refreshes: []ledger.TokenRequest{lost[0], {Time: after(1), Presented: "a", Status: http.StatusInternalServerError}}}},
		{name: "sent twice", fault: "a: sent 2 times",
			of: account{refreshes: rotated, held: heldC, wire: []exchange{{after(0), "a", 0}, {after(1), "a", 0}}}},
		{name: "sent with its successor in the store", fault: "b: sent with its successor",
			of: account{refreshes: rotated, held: heldC, kills: map[string]int{"b": 1}, wire: []exchange{{after(2), "b", 0}, {after(4), "b", 0}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.of.faults(tt.losses)
			if tt.fault == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0], tt.fault)
		})
	}
}

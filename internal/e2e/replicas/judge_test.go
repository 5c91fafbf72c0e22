package replicas_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
)

// evidence is what is known of every refresh token when all is over: from the provider's ledger and the journals of the
// workers. Refresh tokens are named as in a ledger, and no two accounts ever have the same.
type evidence struct {
	ledger []ledger.TokenRequest
	stale  time.Duration        // the age at which the engine replaces an access token, at the earliest
	doubts map[string]int       // the kills of workers that had sent the token and not noted what came of it
	leases map[string]int       // the kills of workers that had the token's lease, whether they had sent it or not
	held   map[string]time.Time // when the token was first known to be in the store
	losses int                  // the grants that the workers have reported to be lost
}

// faults says what is wrong with the tokens. A token may be sent again for every kill that left it in doubt, unless its
// successor is in the store; and a grant may be lost only if its token was spent for a process that was killed.
func (e evidence) faults() []string {
	var faults []string
	fault := func(token, format string, values ...any) {
		faults = append(faults, token+": "+fmt.Sprintf(format, values...))
	}
	sent, successor, refused := map[string]int{}, map[string]string{}, map[string]bool{}
	for _, line := range ledger.Refreshes(e.ledger) {
		token := line.Presented
		if sent[token]++; sent[token] == 2+e.doubts[token] {
			fault(token, "sent %d times, with %d reasons to repeat it", sent[token], e.doubts[token])
		}
		next, spent := successor[token]
		if since, saved := e.held[next]; spent && saved && line.Time.After(since) {
			fault(token, "sent with its successor in the store")
		}
		switch {
		case line.Status == http.StatusOK:
			successor[token] = line.Issued
		case line.Status != http.StatusBadRequest || line.Error != "invalid_grant":
			fault(token, "the provider is not well: %d %s", line.Status, line.Error)
		default:
			refused[token] = true
			if !spent {
				fault(token, "refused, though it was never spent")
			}
			if e.doubts[token] == 0 {
				fault(token, "the grant was lost, and no process was killed between sending and saving")
			}
		}
	}
	if len(refused) != e.losses {
		fault("all", "%d grants were lost, and %d losses reported", len(refused), e.losses)
	}
	return faults
}

// cost is how many token requests there were, and how few could have been enough.
//
// An access token has to be replaced once it is stale, so that an account in work needs one token request for every stale
// age that it has a token; nothing spares that, and nothing more is needed. Work begins with the first token and is counted
// until the last one is given. A token counts for its age when it was replaced, but for no more than the stale age: an
// account that was idle, lost, or waited for a dead process's lease makes no reserve for others. A token that is presented
// a second time adds nothing to the minimum.
//
// Some of the rest is owed to kills: the repetition of a token in doubt, and the early replacement of what an heir was
// given, which may have been the answer to the dead process and may so be older than it looks.
func (e evidence) cost() (requests int, minimum, owed float64) {
	given, spent, inherited := map[string]time.Time{}, map[string]bool{}, map[string]bool{}
	for _, line := range e.ledger {
		if line.GrantType == "refresh_token" {
			requests++
			switch at, ok := given[line.Presented]; {
			case ok && !spent[line.Presented]:
				worth := min(float64(line.Time.Sub(at))/float64(e.stale), 1)
				minimum += worth
				if inherited[line.Presented] {
					owed += 1 - worth
				}
			case e.doubts[line.Presented] > 0:
				owed++
			}
			spent[line.Presented] = true
		}
		if line.Issued != "" {
			given[line.Issued] = line.Time
			inherited[line.Issued] = e.leases[line.Presented] > 0
		}
	}
	return requests, minimum, owed
}

// Each case has one fault, or none; what finds faults is tested here because nothing else would show that it does.
func TestEvidenceIsJudged(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	request := func(d time.Duration, presented, issued string) ledger.TokenRequest {
		line := ledger.TokenRequest{GrantType: "refresh_token", Time: at(d), Presented: presented, Issued: issued, Status: http.StatusOK}
		if issued == "" {
			line.Status, line.Error = http.StatusBadRequest, "invalid_grant"
		}
		return line
	}
	login := ledger.TokenRequest{GrantType: "authorization_code", Time: start, Issued: "a", Status: http.StatusOK}
	const s = 15 * time.Second
	for _, tt := range []struct {
		name    string
		of      evidence
		fault   string  // what it is about; empty: all is well
		minimum float64 // of the token requests
		owed    float64 // to kills
	}{
		{name: "rotation", minimum: 2, of: evidence{ledger: []ledger.TokenRequest{login, request(s, "a", "b"), request(2*s, "b", "c")},
			held: map[string]time.Time{"b": at(s + 1), "c": at(2*s + 1)}}},
		{name: "a process killed, the loss reported", minimum: 1, owed: 1, of: evidence{doubts: map[string]int{"a": 1}, losses: 1,
			ledger: []ledger.TokenRequest{login, request(s, "a", "b"), request(2*s, "a", "")}}},
		{name: "a process killed, its successor's request the first", minimum: 1, of: evidence{doubts: map[string]int{"a": 1},
			ledger: []ledger.TokenRequest{login, request(2*s, "a", "b")}}},
		{name: "a process killed with a lease, its heir's token renewed early", minimum: 1.25, owed: 0.75, of: evidence{leases: map[string]int{"a": 1},
			ledger: []ledger.TokenRequest{login, request(2*s, "a", "b"), request(2*s+s/4, "b", "c")}}},
		{name: "a process killed, the one after it with the refusal", minimum: 1, owed: 2, of: evidence{doubts: map[string]int{"a": 2}, losses: 1,
			ledger: []ledger.TokenRequest{login, request(s, "a", "b"), request(2*s, "a", ""), request(3*s, "a", "")}}},
		{name: "renewed at half its stale age", minimum: 0.5, of: evidence{ledger: []ledger.TokenRequest{login, request(s/2, "a", "b")}}},
		{name: "a loss that nobody reports", minimum: 1, owed: 1, fault: "all: 1 grants were lost, and 0", of: evidence{doubts: map[string]int{"a": 1},
			ledger: []ledger.TokenRequest{login, request(s, "a", "b"), request(2*s, "a", "")}}},
		{name: "a report without a loss", minimum: 1, fault: "all: 0 grants were lost, and 1", of: evidence{losses: 1,
			ledger: []ledger.TokenRequest{login, request(s, "a", "b")}}},
		{name: "a refusal out of nothing", minimum: 1, fault: "a: refused", of: evidence{doubts: map[string]int{"a": 1}, losses: 1,
			ledger: []ledger.TokenRequest{login, request(s, "a", "")}}},
		{name: "a loss without a kill", minimum: 1, fault: "a: the grant was lost", of: evidence{doubts: map[string]int{"x": 1}, losses: 1,
			ledger: []ledger.TokenRequest{login, request(s, "a", "b"), request(2*s, "a", "")}}},
		{name: "sent twice", minimum: 1, fault: "a: sent 2 times, with 0", of: evidence{
			ledger: []ledger.TokenRequest{login, request(s, "a", "b"), request(s+1, "a", "c")}}},
		{name: "sent with its successor in the store", minimum: 1, owed: 1, fault: "a: sent with its successor", of: evidence{
			doubts: map[string]int{"a": 1}, held: map[string]time.Time{"b": at(s + 1)},
			ledger: []ledger.TokenRequest{login, request(s, "a", "b"), request(s+2, "a", "c")}}},
		{name: "another answer", minimum: 1, fault: "a: the provider is not well: 503", of: evidence{
			ledger: []ledger.TokenRequest{login, {GrantType: "refresh_token", Time: at(s), Presented: "a", Status: http.StatusServiceUnavailable}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.of.stale = s
			requests, minimum, owed := tt.of.cost()
			require.Equal(t, len(tt.of.ledger)-1, requests)
			require.InDelta(t, tt.minimum, minimum, 1e-9)
			require.InDelta(t, tt.owed, owed, 1e-9)
			got := tt.of.faults()
			if tt.fault == "" {
				require.Empty(t, got)
				return
			}
			require.NotEmpty(t, got)
			require.Contains(t, got[len(got)-1], tt.fault)
		})
	}
}

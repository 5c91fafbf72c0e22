// Package simulation proves the renewal engine in a simulated world: processes that are real Clients with real
// Sessions and Transports, over one store, one authorization server and one resource server, all in memory. There
// is no copy of the engine here, and nothing but tests.
//
// # Steps
//
// Everything that goes from a process to the world waits for the scheduler: a load and a swap of the store, a
// request to the token endpoint, its answer, a call of the resource server. One step is released at a time; then
// the world comes to rest (synctest.Wait), and every invariant is checked against what the server and the store
// saw. Between steps the scheduler may let time pass, have a caller begin or give up, a person log in or out, and
// processes crash, start, stop for a while, sleep through or have wrong clocks. What it does is drawn from a seed,
// so that a seed is a whole history.
//
// # Seeds
//
//	go test ./internal/simulation -run Seeds -from 1 -seeds 5000   so many, one after the other
//	go test ./internal/simulation -run Seeds -seed 4711 -v         one, step by step
//	go test ./internal/simulation -run Seeds -seconds 600 -timeout 0   as many as fit, where nobody was before
//
// A seed that fails prints itself, what was violated and the last steps. It fails in the same way again: there is
// one processor (GOMAXPROCS), so that goroutines that become ready together run in one order, and no two things begin
// at the same instant. (About one history in a thousand comes out otherwise when it is run again: where two goroutines
// of one process draw their jitter together.) Use several processes to use several processors.
//
// # Small worlds
//
// Interleavings runs two processes and one renewal with at most one crash and one store error in every order of
// their steps that there is, and says how many there are.
package simulation

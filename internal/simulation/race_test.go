//go:build race

package simulation

// underRace says that every step takes many times as long: what the race detector looks for it finds in few histories.
const underRace = true

//go:build race

package replicas_test

const underRace = true

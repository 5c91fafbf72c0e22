package house_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mayReach names, for each layer, the other layers that its packages may reach, through however many imports of packages
// that belong to no layer. Those are the internal ones.
var mayReach = map[string][]string{
	"tokenstore": {},
	"transport":  {},
	"client":     {"transport", "tokenstore"},
	"examples":   {"client", "transport", "tokenstore"},
}

func TestImportsRunOneWay(t *testing.T) {
	graph := map[string][]string{}
	for dir, files := range packages(t) {
		graph[dir] = nil
		for _, file := range files {
			graph[dir] = append(graph[dir], ours(file)...)
		}
	}
	for name := range mayReach {
		require.Truef(t, slices.ContainsFunc(slices.Collect(maps.Keys(graph)), func(dir string) bool { return layer(dir) == name }),
			"no package of %s was found", name)
	}
	require.Empty(t, wrongWays(graph))
}

func TestAWrongWayIsFound(t *testing.T) {
	right := map[string][]string{
		"tokenstore":         nil,
		"tokenstore/file":    {"tokenstore", "internal/lock"},
		"transport":          {"internal/secret"},
		"client":             {"transport", "tokenstore", "internal/record"},
		"client/clienttest":  {"client", "tokenstore"},
		"examples/hello":     {"client", "tokenstore/file", "examples/internal/demo"},
		"internal/lock":      nil,
		"internal/record":    {"tokenstore", "internal/secret"},
		"internal/secret":    nil,
		"internal/e2e/login": {"client", "transport"},
	}
	require.Empty(t, wrongWays(right))
	for _, tt := range []struct{ name, from, to string }{
		{name: "a store knows the transport", from: "tokenstore/file", to: "transport"},
		{name: "a store knows the client", from: "tokenstore", to: "client"},
		{name: "the transport knows stores", from: "transport", to: "tokenstore"},
		{name: "the transport knows stores through an internal package", from: "internal/secret", to: "tokenstore"},
		{name: "an internal package knows the client", from: "internal/record", to: "client"},
		{name: "the client knows an example", from: "client", to: "examples/hello"},
		{name: "an example knows what its copy could not", from: "examples/hello", to: "internal/secret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrong := maps.Clone(right)
			wrong[tt.from] = append(slices.Clone(wrong[tt.from]), tt.to)
			require.NotEmpty(t, wrongWays(wrong))
		})
	}
}

// wrongWays lists what breaks the direction of imports, given what each package imports.
func wrongWays(graph map[string][]string) []string {
	var wrong []string
	for from := range graph {
		allowed, layered := mayReach[layer(from)]
		for _, to := range graph[from] {
			if layer(from) == "examples" && strings.HasPrefix(to, "internal/") {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which a copy of it could not", from, to))
			}
			if layer(from) == "internal" && (layer(to) == "client" || layer(to) == "examples") {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which stands above it", from, to))
			}
		}
		for to := range reached(graph, from) {
			if l := layer(to); layered && l != layer(from) && mayReach[l] != nil && !slices.Contains(allowed, l) {
				wrong = append(wrong, fmt.Sprintf("%s reaches %s", from, to))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// layer is the layer that a package belongs to, or "internal"; "" where only tests and benchmarks use it.
func layer(dir string) string {
	if strings.HasPrefix(dir, "internal/e2e/") || strings.HasPrefix(dir, "internal/bench/") {
		return ""
	}
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// reached gives all packages that from imports, and that those import, and so on.
func reached(graph map[string][]string, from string) map[string]bool {
	seen := map[string]bool{}
	for next := graph[from]; len(next) > 0; {
		to := next[0]
		next = next[1:]
		if !seen[to] {
			seen[to] = true
			next = append(slices.Clone(next), graph[to]...)
		}
	}
	return seen
}

package house_test

import (
	"bytes"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	threatRow  = regexp.MustCompile(`(?m)^\| [^|]+ \| [^|]+ \| [^|]*\|$`)
	shownBy    = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)\\w+)`")
	requires   = regexp.MustCompile(`(?m)^\t(\S+) v\S+$`)
	reasonGive = regexp.MustCompile(`(?m)^\| ((?:[a-z]+\.)+[a-z]+/\S+) \| \S.* \|$`)
)

// TestSecurityNamesItsTests compares SECURITY.md with the tests: each threat's defences are shown by some, and all of them
// exist.
func TestSecurityNamesItsTests(t *testing.T) {
	text, err := fs.ReadFile(house, "SECURITY.md")
	require.NoError(t, err)
	_, threats, found := strings.Cut(string(text), "### A stolen store\n")
	threats, _, _ = strings.Cut(threats, "\n## ")
	require.True(t, found)
	all := tests(t)
	for _, name := range fuzzers(t) {
		all[name] = true
	}
	rows := 0
	for _, row := range threatRow.FindAllString(threats, -1) {
		cells := strings.Split(row, " | ")
		if len(cells) != 3 || strings.HasPrefix(row, "| ---") || strings.HasPrefix(row, "| threat |") {
			continue
		}
		rows++
		shown := shownBy.FindAllStringSubmatch(cells[2], -1)
		require.NotEmptyf(t, shown, "names no test: %s", row)
		for _, test := range shown {
			require.Truef(t, all[test[1]+"."+test[2]], "there is no %s.%s", test[1], test[2])
		}
	}
	require.Greater(t, rows, 20)
}

// fuzzers gives all fuzzers of every module, as folder.FuzzName.
func fuzzers(t *testing.T) []string {
	t.Helper()
	var found []string
	name := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	for _, file := range files(t) {
		if strings.HasSuffix(file, "_test.go") {
			source, err := fs.ReadFile(house, file)
			require.NoError(t, err)
			for _, m := range name.FindAllSubmatch(source, -1) {
				found = append(found, path.Dir(file)+"."+string(m[1]))
			}
		}
	}
	return found
}

// TestTheRootRequiresLittle compares what the root module requires with the reasons that CONTRIBUTING.md gives, and looks for
// ways in which a build could do more than compile.
func TestTheRootRequiresLittle(t *testing.T) {
	mod, err := fs.ReadFile(house, "go.mod")
	require.NoError(t, err)
	guide, err := fs.ReadFile(house, "CONTRIBUTING.md")
	require.NoError(t, err)
	required, reasons := map[string]bool{}, map[string]bool{}
	for _, m := range requires.FindAllSubmatch(mod, -1) {
		required[string(m[1])] = true
	}
	for _, m := range reasonGive.FindAllSubmatch(guide, -1) {
		reasons[string(m[1])] = true
	}
	require.NotEmpty(t, required)
	require.Equal(t, slices.Sorted(maps.Keys(required)), slices.Sorted(maps.Keys(reasons)))
	for _, word := range []string{"\nreplace ", "\nexclude ", "\ntoolchain ", "\ntool "} {
		require.NotContains(t, string(mod), word)
	}
	for dir, parsed := range packages(t) {
		for _, file := range parsed {
			for _, spec := range file.Imports {
				require.NotContains(t, []string{`"C"`, `"plugin"`}, spec.Path.Value, dir)
			}
		}
	}
	generate := []byte("//go:" + "generate")
	for _, name := range files(t) {
		if strings.HasSuffix(name, ".go") {
			source, err := fs.ReadFile(house, name)
			require.NoError(t, err)
			require.False(t, bytes.Contains(source, generate), name)
		}
	}
}

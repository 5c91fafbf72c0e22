package interop_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const page = "../../../docs/interop.md"

const introduction = `# Interoperability

This page is generated: ` + "`EVERGRANT_E2E=1 go test -C internal/e2e ./interop -update`" + ` writes it, and ` + "`make test`" + ` fails when it is not
what the tests have shown. Every cell is one of

- **pass**: the client did it on this server;
- **lacks**: the server lacks it, by its own word, which the note tells;
- **defect**: it does not work, or is not shown, for the reason that the note tells.

The servers run on loopback, in the versions that Debian 12, npm and the Go proxy have. "Google's API library" is
google.golang.org/api (Cloud Storage) over a Session's HTTP client: a local emulator of the API checks the tokens of the
oidc-provider beside it, and where a row calls a resource, the library calls the emulator. The columns marked as fixtures are not real: what
those servers were seen to answer is kept in internal/e2e/interop/testdata and given to the client again; what was not seen is as their
source has it, which is named at the end, their metadata too; and what neither tells is as the RFCs have it.

`

// requirePage wants docs/interop.md to say what was shown.
func requirePage(t *testing.T, shown map[string]map[string]verdict) {
	t.Helper()
	for _, c := range columns {
		for _, r := range rows {
			if _, ok := shown[c.name][r.name]; !ok {
				if flag.Lookup("test.run").Value.String() != "" || os.Getenv("EVERGRANT_E2E") != "1" {
					t.Skipf("%s has no cell for %s: only a whole run makes the page", c.name, r.name)
				}
				require.Failf(t, "an empty cell", "%s of %s", r.name, c.name)
			}
		}
	}
	want := written(shown) + sources(recordings(t))
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "docs/interop.md is out of date; rewrite it with -update")
}

// written is the page: rows of cells, and the notes that the cells refer to.
func written(shown map[string]map[string]verdict) string {
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("| |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(columns)) + "|\n")
	var notes []string
	numbers := map[string]int{}
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.name)
		for _, c := range columns {
			v := shown[c.name][r.name]
			fmt.Fprintf(&b, " %s", map[outcome]string{passes: "pass", lacks: "lacks", broken: "**defect**"}[v.outcome])
			if v.words != "" {
				if numbers[v.words] == 0 {
					notes = append(notes, v.words)
					numbers[v.words] = len(notes)
				}
				fmt.Fprintf(&b, " [%d]", numbers[v.words])
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n## Notes\n\n")
	for i, note := range notes {
		fmt.Fprintf(&b, "%d. %s.\n", i+1, note)
	}
	return b.String()
}

// sources are where that is from which the fixtures were not seen to answer.
func sources(all map[string]recording) string {
	var b strings.Builder
	b.WriteString("\n## Sources of the fixtures\n\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if r := all[name]; r.Source != "" {
			fmt.Fprintf(&b, "- %s: %s.\n", r.Server, r.Source)
		}
	}
	return b.String()
}

package house_test

import (
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	painRow  = regexp.MustCompile(`(?m)^\| (\d+) \|.*$`)
	painTest = regexp.MustCompile("`([a-z0-9/]+)\\.(Test\\w+)`")
	painName = regexp.MustCompile(`^TestPain(\d+)_`)
)

// TestPainsAreShownGone compares docs/pains.md with the tests: each row names some, all of them exist, and a test that
// bears a row's number is named in that row.
func TestPainsAreShownGone(t *testing.T) {
	text, err := fs.ReadFile(house, "docs/pains.md")
	require.NoError(t, err)
	all := tests(t)
	rows := painRow.FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, rows)
	named := map[string]bool{}
	for _, row := range rows {
		shown := painTest.FindAllStringSubmatch(row[0], -1)
		require.NotEmptyf(t, shown, "row %s names no test", row[1])
		for _, test := range shown {
			require.Truef(t, all[test[1]+"."+test[2]], "row %s: there is no %s.%s", row[1], test[1], test[2])
			named[row[1]+" "+test[2]] = true
		}
	}
	for test := range all {
		_, name, _ := strings.Cut(test, ".")
		if m := painName.FindStringSubmatch(name); m != nil {
			number, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			require.Truef(t, named[strconv.Itoa(number)+" "+name], "row %d of docs/pains.md does not name %s", number, test)
		}
	}
}

// tests gives all tests of every module, as folder.TestName.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, name := range files(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, decl := range parse(t, name).Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				found[path.Dir(name)+"."+f.Name.Name] = true
			}
		}
	}
	return found
}

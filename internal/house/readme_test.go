package house_test

import (
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var block = regexp.MustCompile("(?ms)^(?:<!-- code: (\\w+) -->\n)?```go\n(.*?)^```$")

// TestREADMEIsCompiledCode compares the README's Go with the example of package client, or of its provider, that the comment above it names:
// its lines stand there, one after the other, however indented.
func TestREADMEIsCompiledCode(t *testing.T) {
	text, err := fs.ReadFile(house, "README.md")
	require.NoError(t, err)
	examples := exampleFunctions(t)
	blocks := block.FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		name, code := b[1], b[2]
		require.NotEmptyf(t, name, "no comment says where this is compiled: %s", code)
		t.Run(name, func(t *testing.T) {
			source, ok := examples[name]
			require.True(t, ok, "is there a function of this name in the tests of package client or provider?")
			require.Contains(t, flush(source), flush(code))
		})
	}
}

// exampleFunctions gives the source of every Example function of the packages client and provider.
func exampleFunctions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range files(t) {
		if dir := path.Dir(name); dir != "client" && dir != "client/provider" || !strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := fs.ReadFile(house, name)
		require.NoError(t, err)
		for _, decl := range parse(t, name).Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Example") {
				found[f.Name.Name] = string(source[fileset.Position(f.Pos()).Offset:fileset.Position(f.End()).Offset])
			}
		}
	}
	return found
}

// flush removes the indentation of every line, and empty lines around the whole.
func flush(code string) string {
	lines := strings.Split(strings.Trim(code, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

func TestFlush(t *testing.T) {
	source := "func Example() {\n\tif ok {\n\t\treturn\n\t}\n}"
	require.Contains(t, flush(source), flush("if ok {\n\treturn\n}\n"))
	require.NotContains(t, flush(source), flush("if ok {\n}\n"))
	require.NotContains(t, flush(source), flush("f ok {\n"))
}

package house_test

import (
	"errors"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// uncompiled are the examples that the README shows and that do not exist yet. The list only shrinks.
var uncompiled = map[string]bool{
	"Example":              true,
	"ExampleSession_Login": true,
	"ExampleSession_Wrap":  true,
	"Example_keychain":     true,
	"ExampleFromOAuth2":    true,
}

var block = regexp.MustCompile("(?ms)^(?:<!-- code: (\\w+) -->\n)?```go\n(.*?)^```$")

// TestREADMEIsCompiledCode compares the README's Go with the example of package client that the comment above it names:
// its lines stand there, one after the other, however indented.
func TestREADMEIsCompiledCode(t *testing.T) {
	text, err := fs.ReadFile(house, "README.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no README.md yet")
	}
	require.NoError(t, err)
	examples := exampleFunctions(t)
	blocks := block.FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		name, code := b[1], b[2]
		require.NotEmptyf(t, name, "no comment says where this is compiled: %s", code)
		t.Run(name, func(t *testing.T) {
			source, ok := examples[name]
			require.Equal(t, !uncompiled[name], ok, "is there a function of this name in package client's tests?")
			if ok {
				require.Contains(t, flush(source), flush(code))
			}
		})
	}
}

// exampleFunctions gives the source of every Example function of package client.
func exampleFunctions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range files(t) {
		if path.Dir(name) != "client" || !strings.HasSuffix(name, "_test.go") {
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

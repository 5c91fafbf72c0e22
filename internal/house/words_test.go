package house_test

import (
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// vague are the words that name nothing: what they stand for has a better noun.
var vague = regexp.MustCompile(`(?i)util|helper|common|manager`)

func TestNamesAreNouns(t *testing.T) {
	for dir, files := range packages(t) {
		require.NotRegexp(t, vague, path.Base(dir))
		for _, file := range files {
			require.NotRegexp(t, vague, path.Base(fileset.Position(file.Package).Filename))
			for _, decl := range file.Decls {
				if group, ok := decl.(*ast.GenDecl); ok {
					for _, spec := range group.Specs {
						if typ, ok := spec.(*ast.TypeSpec); ok {
							require.NotRegexp(t, vague, typ.Name.Name)
						}
					}
				}
			}
		}
	}
}

// machines are what a file says of the machine that it was written on: a person's folder, the place a package came from.
var machines = regexp.MustCompile(`(?m)(?:^|[\s"'` + "`" + `=:(,])/(?:home|root|Users|work)/\w|"resolved":\s*"http`)

func TestNoFileKnowsItsMachine(t *testing.T) {
	require.Regexp(t, machines, "see /"+"home/somebody/notes")
	require.NotRegexp(t, machines, "https://example.com/home/page")
	for _, name := range files(t) {
		text, err := fs.ReadFile(house, name)
		require.NoError(t, err)
		if utf8.Valid(text) {
			require.Empty(t, machines.FindString(string(text)), name)
		}
	}
}

// Package house_test holds the rules of the house that a compiler does not: which way imports run, what is exported and
// documented, that the README's code compiles, what no file may say.
package house_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/evergrant/evergrant"

// house is the root of the repository.
var house = os.DirFS(filepath.Join("..", ".."))

var fileset = token.NewFileSet()

// files gives the paths of all files of the repository, of every module, below the root.
func files(t *testing.T) []string {
	t.Helper()
	var found []string
	require.NoError(t, fs.WalkDir(house, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && name != "." && (base == "node_modules" || strings.HasPrefix(base, ".") && base != ".ci") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			found = append(found, name)
		}
		return nil
	}))
	require.NotEmpty(t, found)
	return found
}

// packages gives the parsed files of every package of every module, by folder, as they are built for Linux, without
// tests.
func packages(t *testing.T) map[string][]*ast.File {
	t.Helper()
	platform := build.Default
	platform.GOOS, platform.GOARCH = "linux", "amd64"
	parsed := map[string][]*ast.File{}
	for _, name := range files(t) {
		dir, base := path.Split(name)
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") || strings.Contains(dir, "testdata/") {
			continue
		}
		built, err := platform.MatchFile(filepath.Join("..", "..", dir), base)
		require.NoError(t, err)
		if built {
			dir = path.Clean(dir)
			parsed[dir] = append(parsed[dir], parse(t, name))
		}
	}
	require.NotEmpty(t, parsed)
	return parsed
}

func parse(t *testing.T, name string) *ast.File {
	t.Helper()
	source, err := fs.ReadFile(house, name)
	require.NoError(t, err)
	file, err := parser.ParseFile(fileset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	return file
}

// ours gives the folders of our own packages that a file imports.
func ours(file *ast.File) []string {
	var dirs []string
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		if dir, ok := strings.CutPrefix(imported, module+"/"); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

package house_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files of the exported API")

// symbol is one exported name of a package.
type symbol struct {
	line       string // what the golden file says of it
	documented bool
}

func TestExportedAPI(t *testing.T) {
	const golden = "testdata/api"
	if *update {
		require.NoError(t, os.RemoveAll(golden))
		require.NoError(t, os.MkdirAll(golden, 0o755))
	}
	expected := map[string]bool{}
	for dir, files := range public(t) {
		name := strings.ReplaceAll(dir, "/", "_") + ".txt"
		expected[name] = true
		t.Run(dir, func(t *testing.T) {
			var lines []string
			for _, s := range symbols(files) {
				lines = append(lines, s.line)
			}
			slices.Sort(lines)
			got := strings.Join(lines, "\n") + "\n"
			if *update {
				require.NoError(t, os.WriteFile(filepath.Join(golden, name), []byte(got), 0o644))
			}
			want, err := os.ReadFile(filepath.Join(golden, name))
			require.NoError(t, err, "a new package? `make api` writes its golden file")
			require.Equal(t, string(want), got, "if the API is meant to change, `make api` rewrites the golden file")
		})
	}
	entries, err := os.ReadDir(golden)
	require.NoError(t, err)
	for _, entry := range entries {
		require.Truef(t, expected[entry.Name()], "%s is of a package that is gone; `make api` removes it", entry.Name())
	}
}

// undocumented are the names that still wait for a comment. The list only shrinks.
var undocumented = map[string][]string{}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for dir, files := range public(t) {
		t.Run(dir, func(t *testing.T) {
			require.True(t, slices.ContainsFunc(files, func(f *ast.File) bool { return f.Doc != nil }), "the package has no comment")
			var missing []string
			for _, s := range symbols(files) {
				if !s.documented {
					missing = append(missing, s.line)
				}
			}
			require.Equal(t, undocumented[dir], missing)
		})
	}
}

func TestSymbols(t *testing.T) {
	var lines, undocumented []string
	for _, s := range symbols([]*ast.File{parse(t, "internal/house/testdata/sample.go")}) {
		lines = append(lines, s.line)
		if !s.documented {
			undocumented = append(undocumented, s.line)
		}
	}
	require.Equal(t, []string{
		"const Named Kind = 1",
		"const Next",
		"var ErrOne error",
		"func Make[T any](list []T, more ...string) (*Box[T], error)",
		"type Box[T any] struct",
		"type Box[T any] struct, Items []T",
		"type Box[T any] struct, Kind",
		"type Box[T any] struct, Width int",
		"type Box[T any] struct, Height int",
		"type Box[T any] struct, Last int",
		"method (b *Box[T]) Open(func() T) (ok bool)",
		"type Kind int",
		"type Alias = Kind",
		"type Opener interface",
		"type Opener interface, Open() error",
		"type Opener interface, embeds fmt.Stringer",
		"type Opener interface, unexported methods",
	}, lines)
	require.Equal(t, []string{
		"const Next",
		"type Box[T any] struct, Items []T",
		"type Box[T any] struct, Last int",
		"type Opener interface, Open() error",
	}, undocumented)
}

// public gives the packages that users import.
func public(t *testing.T) map[string][]*ast.File {
	t.Helper()
	all := packages(t)
	for dir, files := range all {
		nested := slices.ContainsFunc([]string{"internal/", "examples/"}, func(p string) bool { return strings.HasPrefix(dir, p) })
		if nested || strings.Contains(dir, "/internal/") || files[0].Name.Name == "main" {
			delete(all, dir)
		}
	}
	require.Contains(t, all, "client")
	return all
}

// symbols lists what a package exports, in the order of its source.
func symbols(files []*ast.File) []symbol {
	var found []symbol
	for _, file := range files {
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				found = append(found, function(d)...)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						found = append(found, typ(s, s.Doc != nil || s.Comment != nil || d.Doc != nil && len(d.Specs) == 1)...)
					case *ast.ValueSpec:
						found = append(found, values(d.Tok, s, s.Doc != nil || s.Comment != nil || d.Doc != nil && len(d.Specs) == 1)...)
					}
				}
			}
		}
	}
	return found
}

func function(d *ast.FuncDecl) []symbol {
	if !d.Name.IsExported() {
		return nil
	}
	line := "func " + d.Name.Name + parameters(d.Type.TypeParams) + signature(d.Type)
	if d.Recv != nil {
		receiver := types.ExprString(d.Recv.List[0].Type)
		if !ast.IsExported(strings.TrimLeft(receiver, "*")) {
			return nil
		}
		if names := d.Recv.List[0].Names; len(names) > 0 {
			receiver = names[0].Name + " " + receiver
		}
		line = fmt.Sprintf("method (%s) %s%s", receiver, d.Name.Name, signature(d.Type))
	}
	return []symbol{{line, d.Doc != nil}}
}

func values(kind token.Token, s *ast.ValueSpec, documented bool) []symbol {
	var found []symbol
	for i, name := range s.Names {
		if !name.IsExported() {
			continue
		}
		line := kind.String() + " " + name.Name
		if s.Type != nil {
			line += " " + types.ExprString(s.Type)
		}
		if kind == token.CONST && i < len(s.Values) {
			line += " = " + types.ExprString(s.Values[i])
		}
		found = append(found, symbol{line, documented})
	}
	return found
}

func typ(s *ast.TypeSpec, documented bool) []symbol {
	if !s.Name.IsExported() {
		return nil
	}
	line := "type " + s.Name.Name + parameters(s.TypeParams)
	switch t := s.Type.(type) {
	case *ast.StructType:
		line += " struct"
		return append([]symbol{{line, documented}}, fields(line, t)...)
	case *ast.InterfaceType:
		line += " interface"
		return append([]symbol{{line, documented}}, methods(line, t)...)
	}
	if s.Assign.IsValid() {
		line += " ="
	}
	return []symbol{{line + " " + types.ExprString(s.Type), documented}}
}

// fields lists a struct's. A comment is about all fields below it, down to the next blank line.
func fields(line string, t *ast.StructType) []symbol {
	var found []symbol
	above, last := false, 0 // whether a comment stands over the lines that end at last
	for _, field := range t.Fields.List {
		typ := types.ExprString(field.Type)
		above = field.Doc != nil || above && fileset.Position(field.Pos()).Line == last+1
		last = fileset.Position(field.End()).Line
		documented := above || field.Comment != nil
		for _, name := range field.Names {
			if name.IsExported() {
				found = append(found, symbol{line + ", " + name.Name + " " + typ, documented})
			}
		}
		if base := typ[strings.LastIndexAny(typ, "*.")+1:]; field.Names == nil && ast.IsExported(base) {
			found = append(found, symbol{line + ", " + typ, true}) // its own type says what it is
		}
	}
	return found
}

func methods(line string, t *ast.InterfaceType) []symbol {
	var found []symbol
	hidden := false
	for _, method := range t.Methods.List {
		f, ok := method.Type.(*ast.FuncType)
		switch {
		case !ok:
			found = append(found, symbol{line + ", embeds " + types.ExprString(method.Type), true})
		case method.Names[0].IsExported():
			found = append(found, symbol{line + ", " + method.Names[0].Name + signature(f), method.Doc != nil || method.Comment != nil})
		default:
			hidden = true
		}
	}
	if hidden {
		found = append(found, symbol{line + ", unexported methods", true})
	}
	return found
}

func signature(f *ast.FuncType) string {
	return strings.TrimPrefix(types.ExprString(&ast.FuncType{Params: f.Params, Results: f.Results}), "func")
}

func parameters(list *ast.FieldList) string {
	if list == nil {
		return ""
	}
	var each []string
	for _, field := range list.List {
		for _, name := range field.Names {
			each = append(each, name.Name+" "+types.ExprString(field.Type))
		}
	}
	return "[" + strings.Join(each, ", ") + "]"
}

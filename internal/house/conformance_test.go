package house_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirement is one line of docs/conformance/requirements.txt.
type requirement struct {
	id      string // document, section and number: R6749-2.3.1-1
	level   string // M: must, S: should, X: the server may, D: follows from the text
	section string
	words   string
}

// verdict says why no test shows a requirement.
type verdict struct{ kind, reason string }

var (
	idWord  = regexp.MustCompile(`^(?:R\d{4}b?|O21|OIDC[A-Za-z]*|MCP2[56]|CIMD)-[A-Za-z0-9.]+-\d+$`)
	idsName = regexp.MustCompile(`^_(?:R\d{4}b?|O21|OIDC[A-Za-z]*|MCP2[56]|CIMD)_[0-9A-Z]`)
	kinds   = []string{"server", "not offered"}
)

// TestConformance compares docs/conformance.md with what it is made of: the requirements, the tests that bear their ids,
// and the verdicts on those that no test bears. With -update it writes the page.
func TestConformance(t *testing.T) {
	const page = "docs/conformance.md"
	all := requirements(t)
	got := conformance(t, all, verdicts(t, all), bearers(t, all))
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join("..", "..", page), []byte(got), 0o644))
	}
	want, err := fs.ReadFile(house, page)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "`go test ./internal/house -run '^TestConformance$' -update` rewrites the page")
}

// requirements gives the lines of the list, each id once.
func requirements(t *testing.T) []requirement {
	t.Helper()
	var all []requirement
	seen := map[string]bool{}
	for _, line := range lines(t, "docs/conformance/requirements.txt") {
		part := strings.SplitN(line, " | ", 4)
		require.Len(t, part, 4, line)
		r := requirement{part[0], part[1], part[2], part[3]}
		require.Regexp(t, idWord, r.id)
		require.Contains(t, []string{"M", "S", "X", "D"}, r.level, r.id)
		require.NotEmpty(t, r.words, r.id)
		require.Falsef(t, seen[r.id], "%s stands twice", r.id)
		seen[r.id] = true
		all = append(all, r)
	}
	require.Len(t, all, 500)
	return all
}

// verdicts gives the verdicts of the list, by id.
func verdicts(t *testing.T, all []requirement) map[string]verdict {
	t.Helper()
	found := map[string]verdict{}
	for _, line := range lines(t, "docs/conformance/verdicts.txt") {
		id, rest, _ := strings.Cut(line, " ")
		require.Truef(t, slices.ContainsFunc(all, func(r requirement) bool { return r.id == id }), "there is no requirement %s", id)
		require.NotContainsf(t, found, id, "%s is judged twice", id)
		i := slices.IndexFunc(kinds, func(kind string) bool { return strings.HasPrefix(rest, kind+" ") })
		require.GreaterOrEqualf(t, i, 0, "%s has no verdict with a reason", id)
		found[id] = verdict{kinds[i], strings.TrimSpace(rest[len(kinds[i]):])}
	}
	return found
}

// lines gives the lines of a file that are neither empty nor remarks.
func lines(t *testing.T, name string) []string {
	t.Helper()
	text, err := fs.ReadFile(house, name)
	require.NoError(t, err)
	var kept []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			kept = append(kept, line)
		}
	}
	return kept
}

// bearers gives the tests that bear ids, by id: in their names, in a line of their comments that begins with "Shows", or
// at the beginning of the name of a subtest.
func bearers(t *testing.T, all []requirement) map[string][]string {
	t.Helper()
	named := map[string]string{}
	for _, r := range all {
		named[strings.NewReplacer("-", "_", ".", "_").Replace(r.id)] = r.id
	}
	found := map[string]map[string]bool{}
	for _, name := range files(t) {
		if !strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "internal/house/") {
			continue
		}
		for _, decl := range parse(t, name).Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			test := path.Dir(name) + "." + f.Name.Name
			for _, id := range borne(f, named) {
				require.Truef(t, slices.Contains(slices.Collect(maps.Values(named)), id), "%s bears %s, which is no requirement", test, id)
				if found[id] == nil {
					found[id] = map[string]bool{}
				}
				found[id][test] = true
			}
		}
	}
	sorted := map[string][]string{}
	for id, tests := range found {
		sorted[id] = slices.Sorted(maps.Keys(tests))
	}
	return sorted
}

// borne gives the ids that a test bears. forms has the ids by their form in a name.
func borne(f *ast.FuncDecl, forms map[string]string) []string {
	var ids []string
	if id := inName("_"+strings.TrimPrefix(f.Name.Name, "Test")+"_", forms); id != "" {
		ids = append(ids, id)
	}
	for line := range strings.Lines(f.Doc.Text()) {
		if rest, ok := strings.CutPrefix(line, "Shows "); ok {
			ids = append(ids, leading(rest)...)
		}
	}
	for _, name := range subtests(f) {
		ids = append(ids, leading(name)...)
	}
	return ids
}

// subtests gives the names of a test's subtests, as far as they begin with a literal: the first argument of a call of Run,
// or what that is in the rows of the table that it is called for.
func subtests(f *ast.FuncDecl) []string {
	var names []string
	tables := map[string]*ast.CompositeLit{} // by the variable that holds them
	rows := map[string]func(field string) []ast.Expr{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if name, ok := n.Lhs[0].(*ast.Ident); ok {
				if table, ok := n.Rhs[0].(*ast.CompositeLit); ok {
					tables[name.Name] = table
				}
			}
		case *ast.RangeStmt:
			table, ok := n.X.(*ast.CompositeLit)
			if name, isName := n.X.(*ast.Ident); isName {
				table, ok = tables[name.Name], tables[name.Name] != nil
			}
			if ok {
				ranged(n, table, rows)
			}
		case *ast.CallExpr:
			if called, ok := n.Fun.(*ast.SelectorExpr); !ok || called.Sel.Name != "Run" || len(n.Args) != 2 {
				return true
			}
			for _, name := range named(n.Args[0], rows) {
				if text, ok := name.(*ast.BasicLit); ok && text.Kind == token.STRING {
					if value, err := strconv.Unquote(text.Value); err == nil {
						names = append(names, value)
					}
				}
			}
		}
		return true
	})
	return names
}

// ranged notes what the variables of a loop over a table stand for: an expression for each row, of which field is named, or ""
// for the whole.
func ranged(loop *ast.RangeStmt, table *ast.CompositeLit, rows map[string]func(field string) []ast.Expr) {
	var keys, values []ast.Expr
	for _, row := range table.Elts {
		if pair, ok := row.(*ast.KeyValueExpr); ok {
			keys, values = append(keys, pair.Key), append(values, pair.Value)
		} else {
			values = append(values, row)
		}
	}
	if key, ok := loop.Key.(*ast.Ident); ok {
		rows[key.Name] = func(string) []ast.Expr { return keys }
	}
	value, ok := loop.Value.(*ast.Ident)
	if !ok {
		return
	}
	rows[value.Name] = func(field string) []ast.Expr {
		if field == "" {
			return values
		}
		var found []ast.Expr
		for _, row := range values {
			if row, ok := row.(*ast.CompositeLit); ok {
				found = append(found, fieldOf(row, table, field)...)
			}
		}
		return found
	}
}

// fieldOf gives the field of one row of a table, by its name or by its place in the table's own type.
func fieldOf(row, table *ast.CompositeLit, field string) []ast.Expr {
	for _, element := range row.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == field {
				return []ast.Expr{pair.Value}
			}
		}
	}
	array, ok := table.Type.(*ast.ArrayType)
	if !ok || len(row.Elts) == 0 {
		return nil
	}
	kind, ok := array.Elt.(*ast.StructType)
	if _, keyed := row.Elts[0].(*ast.KeyValueExpr); keyed || !ok {
		return nil
	}
	place := 0
	for _, group := range kind.Fields.List {
		for _, name := range group.Names {
			if name.Name == field && place < len(row.Elts) {
				return []ast.Expr{row.Elts[place]}
			}
			place++
		}
	}
	return nil
}

// named gives what the beginning of a subtest's name may be.
func named(name ast.Expr, rows map[string]func(field string) []ast.Expr) []ast.Expr {
	switch name := name.(type) {
	case *ast.BinaryExpr:
		return named(name.X, rows)
	case *ast.Ident:
		if of := rows[name.Name]; of != nil {
			return of("")
		}
	case *ast.SelectorExpr:
		if row, ok := name.X.(*ast.Ident); ok && rows[row.Name] != nil {
			return rows[row.Name](name.Sel.Name)
		}
	}
	return []ast.Expr{name}
}

// leading gives the ids that a text begins with.
func leading(text string) []string {
	var ids []string
	for word := range strings.FieldsSeq(text) {
		word = strings.TrimRight(word, ",.;:")
		if !idWord.MatchString(word) {
			break
		}
		ids = append(ids, word)
	}
	return ids
}

// inName gives the longest id that a test's name holds, or the name itself if it begins like an id and is none.
func inName(name string, named map[string]string) string {
	var longest string
	for form := range named {
		if len(form) > len(longest) && strings.Contains(name, "_"+form+"_") {
			longest = form
		}
	}
	if longest == "" && idsName.MatchString(name) {
		return name
	}
	return named[longest]
}

// documents are the headings of the page, by what an id begins with, in the page's order.
var documents = []struct{ id, title string }{
	{"R6749", "RFC 6749, the framework"},
	{"R6750", "RFC 6750, bearer tokens"},
	{"R7009", "RFC 7009, revocation"},
	{"R7521", "RFC 7521, assertions"},
	{"R7523", "RFC 7523, JWT assertions"},
	{"R7523b", "draft-ietf-oauth-rfc7523bis, their audience"},
	{"R7591", "RFC 7591, dynamic registration"},
	{"R7592", "RFC 7592, management of registrations"},
	{"OIDCReg", "OpenID Connect Dynamic Client Registration 1.0"},
	{"R7636", "RFC 7636, PKCE"},
	{"R7662", "RFC 7662, introspection"},
	{"R8252", "RFC 8252, native apps"},
	{"R8414", "RFC 8414, metadata of authorization servers"},
	{"R8628", "RFC 8628, devices"},
	{"R8693", "RFC 8693, token exchange"},
	{"R8705", "RFC 8705, mutual TLS"},
	{"R8707", "RFC 8707, resource indicators"},
	{"R9101", "RFC 9101, request objects"},
	{"R9126", "RFC 9126, pushed authorization requests"},
	{"R9207", "RFC 9207, the issuer in callbacks"},
	{"R9396", "RFC 9396, authorization details"},
	{"R9449", "RFC 9449, DPoP"},
	{"R9470", "RFC 9470, step-up"},
	{"R9700", "RFC 9700, best current practice"},
	{"R9728", "RFC 9728, metadata of resources"},
	{"O21", "OAuth 2.1, draft 16, where it adds"},
	{"OIDC", "OpenID Connect Core 1.0"},
	{"OIDCD", "OpenID Connect Discovery 1.0"},
	{"MCP25", "Model Context Protocol, authorization, 2025-11-25"},
	{"MCP26", "Model Context Protocol, authorization, 2026-07-28"},
	{"CIMD", "Client ID Metadata Documents, draft"},
}

const preface = `# Conformance

Written by ` + "`go test ./internal/house -run '^TestConformance$' -update`" + ` from the lists in docs/conformance and from the
tests; the same test fails when the page and they differ. What the protocol asks of a client, in our words, and for each
requirement the tests that show it, or why none does.

Levels: M, the client must; S, it should; X, servers may, and the client has to live with it; D, no rule of the text, but
it follows from one. An id is made of document, section and a number of our own. Tests bear ids in their names (with _ for
. and -), in a line of their comments that begins with "Shows", or in the names of their subtests.

`

// conformance gives the page. Every requirement has tests or one verdict.
func conformance(t *testing.T, all []requirement, verdicts map[string]verdict, bearers map[string][]string) string {
	t.Helper()
	var rows strings.Builder
	counts := "| document | requirements | shown by tests | the server's duty | not offered |\n| --- | --- | --- | --- | --- |\n"
	total := map[string]int{}
	var without []string
	for _, document := range documents {
		fmt.Fprintf(&rows, "\n## %s\n\n| id | level | section | requirement | verdict |\n| --- | --- | --- | --- | --- |\n", document.title)
		count := map[string]int{}
		for _, r := range all {
			if prefix, _, _ := strings.Cut(r.id, "-"); prefix != document.id {
				continue
			}
			kind, words := judged(t, r, verdicts[r.id], bearers[r.id])
			if kind == "" {
				without = append(without, r.id)
			}
			count[kind]++
			fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s |\n", r.id, r.level, r.section, r.words, words)
		}
		counts += counted(document.title, count)
		for kind, n := range count {
			total[kind] += n
		}
	}
	require.Empty(t, without, "%d requirements have no verdict", len(without))
	require.Equal(t, len(all), total["test"]+total["server"]+total["not offered"])
	return preface + counts + counted("all", total) + rows.String()
}

func counted(title string, count map[string]int) string {
	all := 0
	for _, n := range count {
		all += n
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d |\n", title, all, count["test"], count["server"], count["not offered"])
}

// judged gives the kind of a requirement's verdict, and its words. What tests show needs no other verdict.
func judged(t *testing.T, r requirement, said verdict, bearers []string) (kind, words string) {
	t.Helper()
	if said == (verdict{}) {
		if len(bearers) == 0 {
			return "", ""
		}
		return "test", "`" + strings.Join(bearers, "`, `") + "`"
	}
	require.Emptyf(t, bearers, "%s: %s, but tests show it", r.id, said.kind)
	require.Falsef(t, said.kind == "server" && r.level == "M", "%s binds the client: the server cannot do it for us", r.id)
	return said.kind, strings.Replace(said.kind, "server", "the server's duty", 1) + ": " + said.reason
}

func TestIDsOfATest(t *testing.T) {
	named := map[string]string{"R9449_8_2": "R9449-8-2", "R9449_8_2_1": "R9449-8.2-1", "MCP26_RT_1": "MCP26-RT-1"}
	for name, want := range map[string][]string{
		"func TestR9449_8_2_1(t *testing.T) {}":                                                                                      {"R9449-8.2-1"},
		"func TestR9449_8_2(t *testing.T) {}":                                                                                        {"R9449-8-2"},
		"func TestNonce_R9449_8_2_OfTwo(t *testing.T) {}":                                                                            {"R9449-8-2"},
		"func TestMCP26_RT_1(t *testing.T) {}":                                                                                       {"MCP26-RT-1"},
		"func TestR9449_99_1(t *testing.T) {}":                                                                                       {"_R9449_99_1_"},
		"func TestNewerThanR9449(t *testing.T) {}":                                                                                   nil,
		"// TestX does.\n// Shows R9449-8-2, R9449-8.2-1.\nfunc TestX(t *testing.T) {}":                                              {"R9449-8-2", "R9449-8.2-1"},
		"func TestX(t *testing.T) { t.Run(\"R9449-8-2, R9449-8.2-1: two of them\", nil) }":                                           {"R9449-8-2", "R9449-8.2-1"},
		"func TestX(t *testing.T) { _ = map[string]int{\"R9449-8-2\": 1}; t.Run(\"x\", nil) }":                                       nil,
		"func TestX(t *testing.T) { require.NoError(t, err, \"R9449-8-2: said by the way\") }":                                       nil,
		"func TestX(t *testing.T) { for name := range map[string]int{\"R9449-8-2 x\": 1} { t.Run(name, nil) } }":                     {"R9449-8-2"},
		"func TestX(t *testing.T) { for name := range map[string]int{\"R9449-8-2 x\": 1} { t.Run(name + \"y\", nil) } }":             {"R9449-8-2"},
		"func TestX(t *testing.T) { all := map[string]int{\"R9449-8-2\": 1}; for name := range all { t.Run(name, nil) } }":           {"R9449-8-2"},
		"func TestX(t *testing.T) { for _, tt := range []struct{a int; name string}{{1, \"R9449-8-2\"}} { t.Run(tt.name, nil) } }":   {"R9449-8-2"},
		"func TestX(t *testing.T) { for _, tt := range []row{{why: \"R9449-8.2-1\", name: \"R9449-8-2\"}} { t.Run(tt.name, nil) } }": {"R9449-8-2"},
		"func TestX(t *testing.T) { for _, name := range []string{\"R9449-8-2\"} { t.Run(name, nil) } }":                             {"R9449-8-2"},
		"func TestX(t *testing.T) { for _, name := range []string{\"R9449-8-2\"} { use(name); t.Run(\"x\", nil) } }":                 nil,
		"// TestX is not about R9449-8-2.\nfunc TestX(t *testing.T) { t.Run(\"x\", nil) }":                                           nil,
	} {
		require.Equal(t, want, borne(testOf(t, name), named), name)
	}
}

func TestAVerdictIsJudged(t *testing.T) {
	r := requirement{id: "R6749-1.7-1", level: "X"}
	for _, tt := range []struct {
		name        string
		said        verdict
		bearers     []string
		kind, words string
	}{
		{name: "nothing"},
		{"tests bear it", verdict{}, []string{"client.TestA", "client.TestB"}, "test", "`client.TestA`, `client.TestB`"},
		{"the server's", verdict{"server", "it knows"}, nil, "server", "the server's duty: it knows"},
		{"not offered", verdict{"not offered", "no need"}, nil, "not offered", "not offered: no need"},
	} {
		kind, words := judged(t, r, tt.said, tt.bearers)
		require.Equal(t, []string{tt.kind, tt.words}, []string{kind, words}, tt.name)
	}
}

// testOf gives the one function of a source.
func testOf(t *testing.T, source string) *ast.FuncDecl {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "sample.go", "package p\n\n"+source, parser.ParseComments)
	require.NoError(t, err)
	require.Len(t, file.Decls, 1)
	return file.Decls[0].(*ast.FuncDecl)
}

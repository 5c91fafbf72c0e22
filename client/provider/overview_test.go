package provider_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client/provider"
)

const overview = `# Servers that are known

Package client/provider describes in what these authorization servers, and their APIs, differ from the RFCs. A ` + "`client.Config`" + ` that names
none of them gets the one of its issuer or of its token endpoint's host. What is not in the table is as the RFCs say. "Not
confirmed" is what was found neither in a document of the provider's nor in a program that meets it. All of it is replayed by
` + "`go test ./client/provider`" + `, whose flag -update writes this page.

`

// TestOverview compares docs/providers.md with the profiles.
func TestOverview(t *testing.T) {
	const page = "../../docs/providers.md"
	var b strings.Builder
	b.WriteString(overview)
	b.WriteString("| Profile | Found by | Differs in | Not confirmed |\n| --- | --- | --- | --- |\n")
	sources := literals(t)
	for _, p := range provider.All() {
		literal, ok := sources[p.Name]
		require.True(t, ok, "the literal of %s was not found", p.Name)
		found := slices.Concat(p.Issuers, p.TokenHosts)
		if len(found) == 0 {
			found = []string{"its name alone"}
		}
		fmt.Fprintf(&b, "| [%s](../client/provider/%s) | %s | %s | %s |\n",
			p.Name, literal.file, cell(found), cell(differences(p)), cell(literal.doubts))
	}
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "`go test ./client/provider -update` writes it anew")
}

func cell(parts []string) string {
	return strings.ReplaceAll(strings.Join(parts, "<br>"), "|", "\\|")
}

// literal is where a profile is written down.
type literal struct {
	file   string
	doubts []string // lines that are not confirmed
}

var (
	begins = regexp.MustCompile(`^var \w+ = &Provider\{`)
	named  = regexp.MustCompile(`^\tName:\s+"(.*)",$`)
	doubt  = regexp.MustCompile(`^\s*(.*\S)\s*// not confirmed(.*)$`)
)

// literals reads the sources.
func literals(t *testing.T) map[string]literal {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found := make(map[string]literal)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		var now literal
		var name string
		for line := range strings.Lines(string(source)) {
			line = strings.TrimSuffix(line, "\n")
			if begins.MatchString(line) {
				now, name = literal{file: file}, ""
			}
			if m := named.FindStringSubmatch(line); m != nil && name == "" {
				name = m[1]
			}
			if m := doubt.FindStringSubmatch(line); m != nil {
				now.doubts = append(now.doubts, "`"+strings.Join(strings.Fields(strings.TrimSuffix(m[1], ",")), " ")+"`"+m[2])
			}
			if line == "}" && name != "" {
				found[name], name = now, ""
			}
		}
	}
	return found
}

// differences says in words what a profile sets.
func differences(p *provider.Provider) []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	each := func(what string, values map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			say("%s `%s=%s`", what, name, values[name])
		}
	}
	list := func(what string, values []string) {
		if len(values) > 0 {
			say("%s `%s`", what, strings.Join(values, "`, `"))
		}
	}
	text := func(what, value string) {
		if value != "" {
			say("%s `%s`", what, value)
		}
	}
	when := func(what string, set bool) {
		if set {
			all = append(all, what)
		}
	}
	for _, v := range p.Variables {
		say("variable `%s`, `%s`", v.Name, v.Default)
		if v.Default == "" {
			all[len(all)-1] = fmt.Sprintf("variable `%s`, required", v.Name)
		}
	}
	text("issuer", p.Issuer)
	text("secret by", p.SecretMethod)
	when("clients without a secret send an empty one", p.EmptySecret)
	when("Basic without form-encoding", p.RawBasic)
	when("assertions for the token endpoint", p.AssertionForEndpoint)
	when("assertions for the URL that they are sent to", p.AssertionForURL)
	text("assertions of the type", p.AssertionType)
	text("refreshes at", p.RefreshURL)
	when("a grant is revoked with its access token", p.RevokeByBearer)

	each("asks with", p.Authorization.Params)
	text("client id as", p.Authorization.ClientIDParam)
	text("scopes with", p.Authorization.ScopeSeparator)
	text("code as", p.Authorization.CodeParam)
	list("keeps of the callback", p.Authorization.Keep)
	text("callbacks name", p.Authorization.Iss)
	when("no prompt=consent for a refresh token", p.Authorization.RefreshWithoutConsent)
	when("no pushed requests", p.Authorization.NoPAR)
	when("no PKCE", p.Authorization.NoPKCE)
	when("no nonce", p.Authorization.NoNonce)

	when("token requests in JSON", p.Request.JSON)
	each("token requests with the field", p.Request.Header)
	each("codes with", p.Request.CodeParams)
	each("refreshes with", p.Request.RefreshParams)
	text("refreshes by the grant", p.Request.RefreshGrant)
	text("refresh token as", p.Request.RefreshParam)
	when("renewed "+p.Request.Ahead.String()+" ahead", p.Request.Ahead > 0)

	list("tokens in", p.Answer.Unwrap)
	each("reads", p.Answer.Members)
	if p.Answer.Success.Path != "" {
		say("a good answer has `%s=%s`", p.Answer.Success.Path, p.Answer.Success.Value)
	}
	each("means", p.Answer.Errors)
	text("granted scopes with", p.Answer.ScopeSeparator)
	list("Bearer as", p.Answer.BearerTypes)
	text("lifetime in", string(p.Answer.LifetimeUnit))
	when("lasts "+p.Answer.DefaultLifetime.String(), p.Answer.DefaultLifetime > 0)

	list("tokens go to", p.API.Hosts)
	text("token as", p.API.Header)
	each("API requests with the field", p.API.Fields)
	for _, r := range p.API.Rejected {
		parts := []string{strconv.Itoa(r.Status)}
		if r.Path != "" {
			parts = append(parts, r.Path+" is one of "+strings.Join(r.Values, ", "))
		}
		if r.Text != "" {
			parts = append(parts, "text "+r.Text)
		}
		say("rejected by `%s`", strings.Join(parts, "; "))
	}
	return all
}

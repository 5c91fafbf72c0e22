package peers_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/bench/measure"
)

// section is what the page says of one work.
type section struct {
	title, text string
	tables      []table
	figures     []figure
}

type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// spent is what goes into a work, for the page alone: the functions in which the processors spend the most of its time.
func spent(t *testing.T, what string, do func() error) []table {
	if output == "" {
		return nil
	}
	rows, err := measure.Profile(2*time.Second, do)
	require.NoError(t, err)
	return []table{{head: []string{"profile of " + what, "share of the time", "with what it calls"}, rows: rows}}
}

// figure is something to reach.
type figure struct {
	want, got string
	held      bool
	why       string // it was not, if that is known
}

// most is a figure that a measured value holds by being at most limit.
func most[T int | float64 | time.Duration](want string, got, limit T, why string) figure {
	return figure{want, fmt.Sprint(show(got)), got <= limit, why}
}

// exactly is a figure that values hold by being all the same number.
func exactly(want string, got []int, number int) figure {
	_, least, most := measure.Middle(got)
	return figure{want, span(got), least == number && most == number, ""}
}

func show[T any](value T) string {
	switch v := any(value).(type) {
	case time.Duration:
		if v >= time.Second {
			return fmt.Sprintf("%.2f s", v.Seconds())
		}
		if v < 0 {
			return "-" + measure.Show(-v)
		}
		return measure.Show(v)
	case float64:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprint(value)
}

// span is a median with the smallest and the largest.
func span[T int | float64 | time.Duration](values []T) string {
	median, least, most := measure.Middle(values)
	return show(median) + " (" + show(least) + "–" + show(most) + ")"
}

func (f figure) verdict() string {
	switch {
	case f.held:
		return "held"
	case f.why != "":
		return "**not held**: " + f.why
	}
	return "**not held**"
}

const introduction = `# Performance, measured

Written by ` + "`make bench`" + `, which puts Evergrant beside what else one could use, on the same work: a header set by hand
(*plain*: net/http and req.Clone), golang.org/x/oauth2, cloud.google.com/go/auth, MSAL for Go. Best on a machine that does
nothing else.

## How to read it

- All contestants take turns in rounds, so that what disturbs one disturbs all. A value is the median of the rounds, with the
  smallest and the largest in brackets; a ratio is the median of the rounds' ratios. *Plain once more* is plain a second time:
  how far its rounds are from 1 is the noise of the run.
- Each turn begins with a garbage collection, after which the collector runs as it always does. What is done once (connections,
  the first token) is done before.
- Everyone's tokens come from a strict authorization server in the same process: it rotates refresh tokens, and ends the grant when
  a spent one is presented. Each has a server and grants of its own. The resource server checks every token, and its counts
  are compared with what the clients counted.
- A client takes a token for ended, or due, a margin before its end: 10 s in x/oauth2, 225 s in Google's, 300 s in MSAL. The server's
  tokens are that much longer for them, so that all can use one for as long. Work 8 is without this.
- The server is as strict as RFC 9700 asks. Many real ones forgive that a refresh token is spent twice, for a while or for ever:
  there, what fails here for that reason is a request too many.
- Google's library is used without its telemetry, except where it says so.
- MSAL speaks to Microsoft's servers only; its requests are led to ours. Evergrant is used with default settings.

`

func writePage(t *testing.T, path string, sections []section) {
	var page strings.Builder
	page.WriteString(introduction)
	fmt.Fprintf(&page, "%s/%s, %d processors (%s), %s; %s.\n\n## Figures\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor(), runtime.Version(), versions(t))
	var rows [][]string
	for _, s := range sections {
		number, _, _ := strings.Cut(s.title, ".")
		for _, f := range s.figures {
			rows = append(rows, []string{number, f.want, f.got, f.verdict()})
		}
	}
	measure.Table(&page, []string{"work", "to reach", "reached", ""}, rows)
	for _, s := range sections {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", s.title, s.text)
		for _, table := range s.tables {
			page.WriteString("\n")
			measure.Table(&page, table.head, table.rows)
		}
	}
	require.NoError(t, os.WriteFile(path, []byte(page.String()), 0o644))
}

var model = regexp.MustCompile(`(?m)^model name\s*: (.*)$`)

func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	if m := model.FindSubmatch(info); m != nil {
		return string(m[1])
	}
	return "of an unknown make"
}

// versions are those of the peers, as go.mod has them.
func versions(t *testing.T) string {
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Path}} {{.Version}}",
		"golang.org/x/oauth2", "cloud.google.com/go/auth", "github.com/AzureAD/microsoft-authentication-library-for-go")
	said, err := list.Output()
	require.NoError(t, err)
	return strings.Join(strings.Split(strings.TrimSpace(string(said)), "\n"), ", ")
}

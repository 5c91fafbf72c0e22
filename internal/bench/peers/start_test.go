package peers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/bench/measure"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
)

// program is one of those below startup.
type program struct {
	name, label string
	env         []string
	path        string // of the binary
	size        int64  // of it, in bytes
	arguments   []string
	first, all  []time.Duration // until the first request, and until it ended
}

func start(t *testing.T, s size) section {
	as := clienttest.New(t)
	api := as.NewAPI("api.test")
	arrived := make(chan time.Time, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- time.Now()
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)

	programs := []*program{{name: "byhand", label: "by hand: x/oauth2 and a JSON file"}, {name: "file", label: "Evergrant, file store"}}
	missing := ""
	if output != "" {
		programs = append(programs,
			&program{name: "sealed", label: "Evergrant, sealed file"},
			&program{name: "memory", label: "Evergrant, memory, given the token"})
		if missing = withoutKeyring(); missing == "" {
			env := gnomekeyring.Start(t, gnomekeyring.Unlocked)
			programs = append(programs, &program{name: "keychain", label: "Evergrant, keychain (gnome-keyring)", env: env})
		}
	}
	bin := t.TempDir()
	for _, p := range programs {
		p.build(t, bin)
		token, err := json.Marshal(as.Login())
		require.NoError(t, err)
		p.arguments = []string{t.TempDir(), "https://as.test/token", server.URL}
		p.run(t, arrived, string(token)) // stores the grant
		if p.name == "memory" {
			p.arguments = append(p.arguments, string(token))
		}
		p.first, p.all = nil, nil
	}
	before := api.Accepted()
	for round := range s.starts {
		for turn := range programs {
			programs[(round+turn)%len(programs)].run(t, arrived)
		}
	}
	require.Equal(t, s.starts*len(programs), api.Accepted()-before, "every program made one request with its token")

	rows := table{head: []string{"", "start to the first request", "start to the end", "binary, MB"}}
	var figures []figure
	byHand := programs[0]
	for _, p := range programs {
		rows.add(p.label, span(p.first), span(p.all), fmt.Sprintf("%.1f", float64(p.size)/1e6))
		if p.name == "file" || p.name == "sealed" {
			more := make([]time.Duration, s.starts)
			for i := range more {
				more[i] = p.first[i] - byHand.first[i]
			}
			middle, _, _ := measure.Middle(more)
			figures = append(figures, most(p.label+": at most 10 ms more than by hand", middle, 10*time.Millisecond, ""))
		}
	}
	return section{
		title: "9. The start of a program",
		text: "From just before the process is made until its first request, with the token of a stored grant, reaches a server on loopback. " +
			"The difference to the program written by hand is the median of the rounds'. The binaries are as go build makes them." + missing,
		tables: []table{rows}, figures: figures,
	}
}

// withoutKeyring says why the keychain is not measured; "" when it can be.
func withoutKeyring() string {
	for _, needed := range []string{"dbus-daemon", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(needed); err != nil {
			return " Without the keychain: " + needed + " is not installed here."
		}
	}
	return ""
}

func (p *program) build(t *testing.T, into string) {
	p.path = filepath.Join(into, p.name)
	said, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, "./startup/"+p.name).CombinedOutput()
	require.NoError(t, err, "%s", said)
	info, err := os.Stat(p.path)
	require.NoError(t, err)
	p.size = info.Size()
}

// run starts the program and waits for its end.
func (p *program) run(t *testing.T, arrived <-chan time.Time, more ...string) {
	cmd := exec.CommandContext(t.Context(), p.path, append(p.arguments[:len(p.arguments):len(p.arguments)], more...)...)
	cmd.Env = p.env
	began := time.Now()
	said, err := cmd.CombinedOutput()
	ended := time.Now()
	require.NoError(t, err, "%s: %s", p.name, said)
	p.first, p.all = append(p.first, (<-arrived).Sub(began)), append(p.all, ended.Sub(began))
}

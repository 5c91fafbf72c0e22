// Command mutants breaks the renewal engine on purpose, in one way after the other, and sees whether the simulation
// notices: a rule whose absence nobody notices is a rule that nobody has proved.
//
//	go run ./internal/mutants [-seeds N] [-run part-of-a-name]
//
// It prints for every breakage which seed caught it and what that seed saw, and which of the scripted traces D1 to
// D13 fail. It fails if neither notices one of them, or if the code that it changes is not there any more.
// Nothing of the checkout is changed: the compiler gets the broken file as an overlay.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	seeds  = flag.Int("seeds", 10000, "how many seeds a breakage has to survive to count as missed")
	chosen = flag.String("run", "", "only the breakages whose name contains this")
)

func main() {
	flag.Parse()
	root, err := os.Getwd()
	if err == nil {
		err = check(root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func check(root string) error {
	folder, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	var missed []string
	tried, simulated := 0, 0
	for _, m := range mutants {
		if !strings.Contains(m.name, *chosen) {
			continue
		}
		began := time.Now()
		found, err := m.try(root, folder)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Printf("%-56s %s (%.0f s)\n", m.name, found, time.Since(began).Seconds())
		tried++
		if found.bySimulation {
			simulated++
		} else if len(found.traces) == 0 {
			missed = append(missed, m.name)
		}
	}
	fmt.Printf("%d of %d were noticed by the simulation\n", simulated, tried)
	if len(missed) > 0 {
		return fmt.Errorf("nobody has noticed: %s", strings.Join(missed, ", "))
	}
	return nil
}

// mutant is one breakage: in the file, a piece of code that is there once is replaced.
type mutant struct {
	name, file, old, new string
}

// finding is what caught a mutant.
type finding struct {
	bySimulation bool
	seed         string
	traces       []string
}

func (f finding) String() string {
	text := "MISSED by the simulation"
	if f.bySimulation {
		text = f.seed
	}
	if len(f.traces) > 0 {
		text += "; traces " + strings.Join(f.traces, " ")
	}
	return text
}

// try builds the tests with the breakage and runs them.
func (m mutant) try(root, folder string) (f finding, err error) {
	overlay, err := m.overlay(root, folder)
	if err != nil {
		return f, err
	}
	simulation, err := build(overlay, folder, "./internal/simulation")
	if err != nil {
		return f, err
	}
	out, failed := run(simulation, root, "-test.run=^TestSeeds$", fmt.Sprintf("-seeds=%d", *seeds), "-test.timeout=20m")
	if !failed {
		out, failed = run(simulation, root, "-test.run=^TestInterleavings$", "-test.timeout=20m")
	}
	if failed {
		f.bySimulation, f.seed = true, summary(out)
	}
	traces, err := build(overlay, folder, "./client")
	if err != nil {
		return f, err
	}
	out, _ = run(traces, filepath.Join(root, "client"), "-test.run=^TestD[0-9]+_", "-test.timeout=1m")
	for _, name := range regexp.MustCompile(`(?m)^--- FAIL: Test(D\d+)_`).FindAllStringSubmatch(out, -1) {
		f.traces = append(f.traces, name[1])
	}
	slices.Sort(f.traces)
	return f, nil
}

// overlay writes the broken file and the overlay that puts it into the place of the real one.
func (m mutant) overlay(root, folder string) (string, error) {
	path := filepath.Join(root, filepath.FromSlash(m.file))
	code, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(code, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("the code to break is %d times in %s; bring the list up to date", n, m.file)
	}
	broken := filepath.Join(folder, "broken.go")
	if err := os.WriteFile(broken, bytes.Replace(code, []byte(m.old), []byte(m.new), 1), 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(folder, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// build compiles the tests of a package.
func build(overlay, folder, pkg string) (string, error) {
	binary := filepath.Join(folder, filepath.Base(pkg)+".test")
	out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	return binary, nil
}

func run(binary, dir string, args ...string) (out string, failed bool) {
	command := exec.Command(binary, args...)
	command.Dir = dir
	text, err := command.CombinedOutput()
	return string(text), err != nil
}

var (
	seedLine  = regexp.MustCompile(`(seed \d+|interleaving [0-9a-z. ]+): (.*)`)
	panicLine = regexp.MustCompile(`(?m)^panic: (.*)`)
)

// summary is the line in which a failed run says what it saw.
func summary(out string) string {
	for _, line := range []*regexp.Regexp{seedLine, panicLine} {
		if found := line.FindString(out); found != "" {
			return found[:min(len(found), 140)]
		}
	}
	return "failed: " + out[:min(len(out), 140)]
}

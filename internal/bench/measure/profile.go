package measure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"time"
)

// Profile has do done again and again for about d, and gives the functions in which the processors have spent the most of
// that time, with all that these call: as rows of their name, the share spent in themselves, and the share with what they
// call. It needs the go command.
func Profile(d time.Duration, do func() error) (rows [][]string, err error) {
	dir, err := os.MkdirTemp("", "profile")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "cpu")
	if err := record(path, d, do); err != nil {
		return nil, err
	}
	top, err := exec.Command("go", "tool", "pprof", "-top", "-cum", "-nodecount=25", path).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return topOf(string(top)), nil
}

func record(path string, d time.Duration, do func() error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	for began := time.Now(); time.Since(began) < d; {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// topOf reads pprof's list: flat, flat%, sum%, cum, cum% and the function.
func topOf(list string) (rows [][]string) {
	_, list, _ = strings.Cut(list, "cum%\n")
	for line := range strings.Lines(list) {
		if cell := strings.Fields(line); len(cell) >= 6 {
			rows = append(rows, []string{strings.Join(cell[5:], " "), cell[1], cell[4]})
		}
	}
	return rows
}

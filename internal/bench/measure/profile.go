package measure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
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
	lines, err := top("-cum", path)
	for _, l := range lines {
		rows = append(rows, []string{l.function, l.flatShare, l.cumShare})
	}
	return rows, err
}

// Kept is what do makes and keeps.
type Kept struct {
	Rows   [][]string // the functions that have allocated it, and the bytes that each of the things takes
	Timers int        // among it, and what the runtime makes for them; 0: there are none
}

// Memory gives what do makes and keeps, which is n things. It needs the go command.
func Memory(n int, do func() (kept any)) (k Kept, err error) {
	dir, err := os.MkdirTemp("", "profile")
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	if err := recordHeap(before); err != nil {
		return k, err
	}
	kept := do()
	err = recordHeap(after)
	runtime.KeepAlive(kept)
	if err != nil {
		return k, err
	}
	for unit, read := range map[string]func(function string, value float64){
		"inuse_objects": func(function string, value float64) {
			if function == newTimer {
				k.Timers = int(value)
			}
		},
		"inuse_space": func(function string, value float64) {
			if each := value / float64(n); each >= 1 {
				k.Rows = append(k.Rows, []string{function, fmt.Sprintf("%.0f", each)})
			}
		},
	} {
		lines, err := top("-nodecount=0", "-nodefraction=0", "-sample_index="+unit, "-unit=B", "-base="+before, after)
		if err != nil {
			return k, err
		}
		for _, l := range lines {
			value, err := strconv.ParseFloat(strings.TrimSuffix(l.flat, "B"), 64)
			if err != nil {
				return k, err
			}
			read(l.function, value)
		}
	}
	return k, nil
}

// newTimer makes every timer and ticker there is, those of contexts with a deadline too.
const newTimer = "time.newTimer"

// recordHeap writes what is in use once what nobody keeps has been freed, which for what a cleanup keeps takes a second
// collection.
func recordHeap(path string) (err error) {
	runtime.GC()
	runtime.GC()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return pprof.Lookup("heap").WriteTo(f, 0)
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

// line is one of pprof's list: what is of the function itself (flat), and of all that it calls (cum).
type line struct{ flat, flatShare, cumShare, function string }

// top has pprof list the functions of a profile.
func top(options ...string) ([]line, error) {
	list, err := exec.Command("go", append([]string{"tool", "pprof", "-top", "-nodecount=25"}, options...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return linesOf(string(list)), nil
}

// linesOf reads pprof's list: flat, flat%, sum%, cum, cum% and the function.
func linesOf(list string) (lines []line) {
	_, list, _ = strings.Cut(list, "cum%\n")
	for text := range strings.Lines(list) {
		if cell := strings.Fields(text); len(cell) >= 6 {
			lines = append(lines, line{cell[0], cell[1], cell[4], strings.Join(cell[5:], " ")})
		}
	}
	return lines
}

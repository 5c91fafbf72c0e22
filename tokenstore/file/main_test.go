package file_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// childEnv, when set, makes the test binary another process over the folder that it names: "JOB:DIR".
const childEnv = "FILE_TEST_CHILD"

var jobs = map[string]func(context.Context, *file.Store) error{
	"churn":         churn,
	"increment":     func(ctx context.Context, s *file.Store) error { return increment(ctx, s, perProcess) },
	"increment old": func(ctx context.Context, _ *file.Store) error { return incrementWith(ctx, sealing, next) },
	"increment new": func(ctx context.Context, _ *file.Store) error { return incrementWith(ctx, next, sealing) },
	"full":          writeToFullDisk,
	"network":       useNetworkFolder,
	"disk":          useSmallDisk,
	"volume":        loseVolume,
}

func TestMain(m *testing.M) {
	job, _, isChild := strings.Cut(os.Getenv(childEnv), ":")
	if !isChild {
		goleak.VerifyTestMain(m)
		return
	}
	store, err := file.New(childDir(), file.Options{Key: seal.RawKey(sealing)})
	if err == nil {
		err = jobs[job](context.Background(), store)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childDir returns the folder that a child works in.
func childDir() string {
	_, dir, _ := strings.Cut(os.Getenv(childEnv), ":")
	return dir
}

// sealing is the key of the tests' sealed stores.
var sealing = []byte("0123456789abcdefghijklmnopqrstuv")

// process starts a child and returns its standard output and what waits for its end.
func process(t *testing.T, job, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+job+":"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, bufio.NewReader(out)
}

// mixed is a value of one letter, whose length tells the letter: a mixture of two would show.
func mixed(n int) []byte {
	letter := byte('a' + n%26)
	return []byte(strings.Repeat(string(letter), 1000+int(letter)*50))
}

// requireUnmixed fails unless value is one that mixed makes.
func requireUnmixed(t *testing.T, value []byte) {
	t.Helper()
	require.NotEmpty(t, value)
	require.Equal(t, string(mixed(int(value[0]-'a'))), string(value))
}

// churn replaces the value, and deletes it now and then, until the process is killed.
func churn(ctx context.Context, s *file.Store) error {
	_, version, err := s.Load(ctx, "k")
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return err
	}
	for n := 0; ; n++ {
		value := mixed(n)
		if n%10 == 9 {
			value = nil
		}
		if version, err = s.Swap(ctx, "k", version, value); err != nil {
			return err
		}
		if n == 3 {
			fmt.Println("at work")
		}
	}
}

func TestCrash(t *testing.T) {
	dir := t.TempDir()
	s := sealed(t, dir)
	for round := range 8 {
		cmd, out := process(t, "churn", dir)
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "at work\n", line)
		for range round * 5 { // kill at another moment of the work each time, and read meanwhile
			if value, _, err := s.Load(t.Context(), "k"); err == nil {
				requireUnmixed(t, value)
			} else {
				require.ErrorIs(t, err, tokenstore.ErrNotFound)
			}
		}
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())

		value, version, err := s.Load(t.Context(), "k")
		if errors.Is(err, tokenstore.ErrNotFound) {
			err = nil
		} else {
			requireUnmixed(t, value)
		}
		require.NoError(t, err)
		version, err = s.Swap(t.Context(), "k", version, mixed(round))
		require.NoError(t, err)
		value, again, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, version, again)
		require.Equal(t, mixed(round), value)
		requireNoTemporary(t, dir)
	}
}

const processes, perProcess = 4, 25

// increment adds n to the number under one key, one by one.
func increment(ctx context.Context, s *file.Store, n int) error {
	for n > 0 {
		value, version, err := s.Load(ctx, "n")
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return err
		}
		was, _ := strconv.Atoi(string(value))
		_, err = s.Swap(ctx, "n", version, []byte(strconv.Itoa(was+1)))
		if err == nil {
			n--
		} else if !errors.Is(err, tokenstore.ErrConflict) {
			return err
		}
	}
	return nil
}

// incrementWith does it in the child's folder with keys of its own.
func incrementWith(ctx context.Context, key, former []byte) error {
	s, err := file.New(childDir(), file.Options{Key: seal.RawKey(key), Former: []seal.KeySource{seal.RawKey(former)}})
	if err != nil {
		return err
	}
	return increment(ctx, s, perProcess)
}

func TestProcessesLoseNoUpdate(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for range processes {
		cmd, out := process(t, "increment", dir)
		group.Go(func() {
			_, _ = io.Copy(io.Discard, out)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	value, _, err := sealed(t, dir).Load(t.Context(), "n")
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(processes*perProcess), string(value))
}

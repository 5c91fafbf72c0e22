package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cli/browser"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
)

// Shows R8252-5-1, R8252-8.12-1, R6749-10.13-1. The zero Browser starts the system's browser, a program of its own, and
// receives the answer from wherever the person's browser is.
func TestTheSystemsBrowser(t *testing.T) {
	dir := t.TempDir()
	opened := filepath.Join(dir, "opened")
	script := "#!/bin/sh\nprintf '%s' \"$1\" > " + opened + ".part && mv " + opened + ".part " + opened + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	browser.Stdout, browser.Stderr = t.Output(), t.Output()

	server := &codeServer{}
	session := open(t, server.config(nil)).Session("alice")
	ended := make(chan error, 1)
	go func() { ended <- session.Login(limit(t), client.Browser{}) }()
	var address []byte
	require.Eventually(t, func() bool {
		var err error
		address, err = os.ReadFile(opened)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.True(t, strings.HasPrefix(string(address), "https://as.test/authorize?"))
	require.NoError(t, newPerson(server).open(string(address)))
	require.NoError(t, <-ended)
	require.Equal(t, "AT1", token(t, session))
}

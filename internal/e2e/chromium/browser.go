// Package chromium drives a real headless browser that knows no network but the loopback interface.
package chromium

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/process"
)

// Screenshots is the environment variable that names the folder for screenshots; without it, none are kept.
const Screenshots = "EVERGRANT_E2E_SCREENSHOTS"

// step is how long a page may take for what is expected of it.
const step = 20 * time.Second

// Browser is one tab of a browser with a profile of its own, open until its test ends. Its methods end the test when the
// page does not do as expected. It is for one goroutine.
type Browser struct {
	t   testing.TB
	tab context.Context
}

// Start starts a browser.
func Start(t testing.TB) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(process.Need(t, "chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // root, as in containers, cannot have one; all pages are ours
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE [::1]"),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true),
		chromedp.WindowSize(1024, 768),
	)
	allocator, release := chromedp.NewExecAllocator(context.Background(), options...)
	tab, _ := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closing, cancel := context.WithTimeout(tab, step)
		defer cancel()
		_ = chromedp.Cancel(closing) // in order, so that nothing writes to the profile any more
		release()
	})
	b := &Browser{t: t, tab: tab}
	require.NoError(t, chromedp.Do(tab), "starting chromium") // without a deadline: the browser would end with it
	return b
}

// SignIn opens an authorization URL of the oidcprovider, signs account in, consents, and waits for the page after that.
func (b *Browser) SignIn(authorizationURL, account string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(authorizationURL), chromedp.SendKeys(chromedp.CSS(`input[name="login"]`), account))
	b.Screenshot("login")
	b.Press(`button[type="submit"]`)
	b.Screenshot("consent")
	b.Press(`button[name="allow"]`)
}

// Press presses a button and waits for the page that it leads to.
func (b *Browser) Press(button chromedp.CSS) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, step)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.Click(button))
	require.NoError(b.t, err)
}

// Do runs actions on the page.
func (b *Browser) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, step)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, actions...))
}

// Location is the address of the page.
func (b *Browser) Location() string {
	b.t.Helper()
	return read(b, chromedp.Location())
}

// Title is the title of the page, also while the browser goes from page to page by itself.
func (b *Browser) Title() string {
	b.t.Helper()
	return read(b, chromedp.Title())
}

// Text is what the page says.
func (b *Browser) Text() string {
	b.t.Helper()
	return read(b, chromedp.Text(chromedp.CSS("body")))
}

// Screenshot keeps a picture of the page as name.png, if there is a folder for it.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	folder := os.Getenv(Screenshots)
	if folder == "" {
		return
	}
	require.NoError(b.t, os.MkdirAll(folder, 0o755))
	picture := read(b, chromedp.CaptureScreenshot())
	require.NoError(b.t, os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644))
}

func read[T any](b *Browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.tab, step)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	require.NoError(b.t, err)
	return value
}

package replicas_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
)

// usableHeader is until when the client has surely a use for the token that the API has taken, in nanoseconds of Unix time.
const usableHeader = "Token-Usable"

// apiAddress is where the API would be. It is in the worker: eight processes call it more than a thousand times a second,
// which over HTTP takes more time than two cores have under the race detector.
const apiAddress = "https://api.example/accounts/"

// api is the API at the end of a worker's calls. It takes an account's own access token until that ends, and no other, by
// the list that the gate writes. It is safe for concurrent use.
type api struct {
	list *os.File

	mu     sync.Mutex // guards what follows
	tokens map[string]access
	read   int64 // how much of list is in tokens
}

// access is what is known of an access token.
type access struct {
	account string
	end     time.Time
	life    time.Duration
}

// usable is until when the client has surely a use for the token: not in the last twentieth of its life; and it counts
// from when it sent its request, which the gate does not know.
func (t access) usable() time.Time { return t.end.Add(-t.life/20 - 250*time.Millisecond) }

func openAPI(list string) (*api, error) {
	f, err := os.Open(list)
	return &api{list: f, tokens: map[string]access{}}, err
}

// RoundTrip implements http.RoundTripper.
func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	token, err := a.find(ledger.Name(bearer))
	if err != nil {
		return nil, err
	}
	resp := &http.Response{
		StatusCode: http.StatusNoContent, ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, Request: r,
		Header: http.Header{usableHeader: {strconv.FormatInt(token.usable().UnixNano(), 10)}},
	}
	if token.account == "" || !strings.HasSuffix(r.URL.Path, "/"+token.account) || !time.Now().Before(token.end) {
		resp.StatusCode = http.StatusUnauthorized
		resp.Header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	return resp, nil
}

// find returns the token with that name; the zero access if there is none.
func (a *api) find(name string) (access, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	token, ok := a.tokens[name]
	if ok {
		return token, nil
	}
	more, err := io.ReadAll(io.NewSectionReader(a.list, a.read, math.MaxInt64-a.read))
	if err != nil {
		return access{}, err
	}
	whole := string(more[:bytes.LastIndexByte(more, '\n')+1])
	a.read += int64(len(whole))
	for line := range strings.Lines(whole) {
		var name, account string
		var end, life int64
		if _, err := fmt.Sscan(line, &name, &account, &end, &life); err != nil {
			return access{}, err
		}
		a.tokens[name] = access{account, time.Unix(0, end), time.Duration(life)}
	}
	return a.tokens[name], nil
}

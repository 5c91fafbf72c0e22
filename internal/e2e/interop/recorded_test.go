package interop_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// recording is what a server was seen to answer, in testdata. Where a text in it was not kept, it says "(left out)".
type recording struct {
	Server string

	Refresh []answer // to refresh tokens, by what was presented
	Access  []answer // of a protected resource, by what access token came
	Client  []answer // to wrong credentials, by method

	TokenType    string  `json:"token_type"`    // of token answers; empty: Bearer
	Keeps        bool    `json:"keeps"`         // an answer to a refresh has no refresh token: the one sent stays
	Spread       bool    `json:"spread"`        // a replay ends the successors, too
	Revokes      bool    `json:"revokes"`       // it has a revocation endpoint
	Discovery    string  `json:"discovery"`     // "both", "openid": 404 at RFC 8414's address, or "openid, 401": 401 there; empty: not seen
	Slash        bool    `json:"slash"`         // its issuer ends in a slash, also when asked without
	DeviceSlow   bool    `json:"device_slow"`   // it says slow_down
	DeviceStray  bool    `json:"device_stray"`  // its device answer has a member "Header" that is null
	ScopeRefused *answer `json:"scope_refused"` // to client credentials with a scope that is not known
	ScopeIgnored bool    `json:"scope_ignored"` // that scope is left out

	sourced
}

// sourced is what was not seen, but is in the source of the server.
type sourced struct {
	Source   string         `json:"source"`   // where
	Metadata map[string]any `json:"metadata"` // further members; ${origin} is the server

	IDToken         *idToken          `json:"id_token"`
	Audiences       []string          `json:"assertion_audiences"` // for whom a client's assertion may be; empty: it takes none
	Proofs          bool              `json:"proofs"`              // it binds tokens to the key of a proof, and asks for no nonce
	Exchange        map[string]string `json:"exchange"`            // it exchanges tokens where these parameters are sent, too
	ExchangeRefused *answer           `json:"exchange_refused"`
	TargetRefused   *answer           `json:"target_refused"`   // to a resource that is not known
	IgnoresResource string            `json:"ignores_resource"` // how that is known; empty: it does not
	Logout          leaving           `json:"logout"`

	ExchangeNote string `json:"exchange_note"` // for the page
	LogoutNote   string `json:"logout_note"`   // likewise
}

// idToken is how a server makes id tokens.
type idToken struct {
	Alg          string
	AlgOfWeb     string         `json:"alg_of_web"`    // for the client that has a secret; empty: Alg
	AudienceList bool           `json:"audience_list"` // aud is a list of one
	NonceAgain   bool           `json:"nonce_again"`   // also after a refresh
	Claims       map[string]any // further; ${client} is the client
}

// leaving is what a server answers at its end_session_endpoint.
type leaving struct {
	Query url.Values // that it needs beside the hint
	Good  answer     // to a hint of its own
	Bad   answer     // to another
}

// answer is one answer. Its body may hold ${access}, ${refresh} and ${same}: new tokens, and the one that was sent.
type answer struct {
	What    string
	Status  int
	Header  http.Header
	Body    string
	Then    string   // what the client makes of it
	Schemes []string // of its challenges; nil: not looked at
}

// recordings reads all of testdata, by file name.
func recordings(t *testing.T) map[string]recording {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Len(t, files, 9, "nine servers were seen")
	all := map[string]recording{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		decoder := json.NewDecoder(strings.NewReader(string(data)))
		decoder.DisallowUnknownFields()
		var r recording
		require.NoError(t, decoder.Decode(&r), file)
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = r
	}
	return all
}

// code is the error of an answer; empty: it has none.
func (a answer) code() string {
	var members struct{ Error string }
	_ = json.Unmarshal([]byte(a.Body), &members)
	return members.Error
}

// response is the answer to req.
func (a answer) response(req *http.Request, replacements ...string) *http.Response {
	body := strings.NewReplacer(replacements...).Replace(a.Body)
	header := http.Header{}
	for name, values := range a.Header {
		for _, value := range values {
			header.Add(name, value) // under its canonical name
		}
	}
	return &http.Response{
		Status: strconv.Itoa(a.Status) + " " + http.StatusText(a.Status), StatusCode: a.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// script is a server that gives the answers of a list, the last of them for ever, and notes what came.
type script struct {
	mu      sync.Mutex
	answers []answer // guarded by mu
	forms   []string // as sent; guarded by mu
}

// mend has every answer from now on be good.
func (s *script) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = []answer{good}
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		var err error
		if sent, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.answers[min(len(s.forms), len(s.answers)-1)]
	s.forms = append(s.forms, string(sent))
	n := strconv.Itoa(len(s.forms))
	return next.response(req, "${access}", "AT-new"+n, "${refresh}", "RT-new"+n, "${same}", "RT-old"), nil
}

// asked is how many requests came.
func (s *script) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.forms)
}

// good is a token answer.
var good = answer{
	Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
	Body: `{"access_token":"${access}","token_type":"Bearer","expires_in":600,"refresh_token":"${refresh}"}`,
}

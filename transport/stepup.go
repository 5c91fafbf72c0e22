package transport

import (
	"context"
	"net/http"

	"golang.org/x/oauth2"
)

// StepUpper is an optional ability of a Source: to get more than the grant of its tokens gives, such as by having the person
// log in again (RFC 6750 §3.1, RFC 9470). Without it an answer that asks for a step-up reaches the caller as it is. Like a
// Source's methods, StepUp is called concurrently.
type StepUpper interface {
	// StepUp is called, once for a request at most, when a request with t was answered by a 401 or a 403 with asked, the
	// first of its challenges that IsStepUp. It returns the token with which the request is to be sent once more. Nil, or
	// the same access token: there is none, and the caller of the request gets the server's answer. An error is for when
	// ctx has ended: the caller gets it in the place of the answer.
	//
	// It may take minutes. Whoever asks for more is the resource server, or what poses as one: what it
	// asks for is a wish, and it is for StepUp to bound how often a person is troubled with it.
	StepUp(ctx context.Context, t *oauth2.Token, asked Challenge) (*oauth2.Token, error)
}

// stepUpOf is what an answer asks for, if it asks for a step-up.
func stepUpOf(resp *http.Response) (Challenge, bool) {
	for _, c := range Challenges(resp) {
		if c.IsStepUp() {
			return c, true
		}
	}
	return Challenge{}, false
}

// asksForMore reports whether an answer other than a 401 asks for a step-up that there is somebody to make.
func (t *Transport) asksForMore(resp *http.Response) bool {
	if _, able := t.Source.(StepUpper); !able || resp.StatusCode != http.StatusForbidden {
		return false
	}
	_, asks := stepUpOf(resp)
	return asks
}

// stepUp has the Source get what resp asks for; nil: it has not.
func (t *Transport) stepUp(req *http.Request, resp *http.Response, old *header) (*header, error) {
	s, ok := t.Source.(StepUpper)
	if !ok {
		return nil, nil
	}
	asked, _ := stepUpOf(resp)
	fresh, err := s.StepUp(req.Context(), old.token, asked)
	if err != nil || fresh == nil || fresh.AccessToken == old.token.AccessToken {
		return nil, err
	}
	return t.authorization(fresh)
}

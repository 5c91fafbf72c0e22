package authserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/evergrant/evergrant/internal/jws"
)

// OpenID is the part of the metadata that an OpenID provider adds (OpenID Connect Discovery §3, RP-Initiated Logout §2.1).
type OpenID struct {
	KeysURI            string   `json:"jwks_uri"`
	UserInfoEndpoint   string   `json:"userinfo_endpoint"`
	EndSessionEndpoint string   `json:"end_session_endpoint"`
	IDTokenAlgorithms  []string `json:"id_token_signing_alg_values_supported"`
	UserInfoAlgorithms []string `json:"userinfo_signing_alg_values_supported"`
}

// DiscoverOpenID is Discover from the addresses of OpenID Connect Discovery alone.
func DiscoverOpenID(ctx context.Context, hc *http.Client, issuer string) (*Metadata, error) {
	return discover(ctx, hc, issuer, true, isExactly)
}

// IsAnswered reports whether the issuer has answered at every address, if with nothing of use: none is out of reach, or
// in trouble.
func (e *DiscoveryError) IsAnswered() bool {
	for _, a := range e.Tried {
		if f, _ := errors.AsType[*Failure](a.Err); f != nil && (f.Status < 400 || f.Status >= 500 || f.Status == http.StatusTooManyRequests) {
			return false
		}
	}
	return e.Issuer != ""
}

// Keys fetches the keys that an issuer signs with, from the jwks_uri of its metadata. The error is a *Failure, unless
// the document itself is at fault.
func Keys(ctx context.Context, hc *http.Client, address string) (jws.KeySet, error) {
	body, _, err := get(ctx, hc, address, strings.HasPrefix(address, "http:"))
	if err != nil {
		return nil, err
	}
	return jws.ParseKeySet(body)
}

// get fetches a public document. There is no secret in the request, so it follows a few redirects, to addresses that are
// as safe: some servers move it by a slash.
func get(ctx context.Context, hc *http.Client, address string, loopback bool) ([]byte, http.Header, error) {
	follower := *hc
	follower.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("too many redirects")
		}
		return checkEndpoint(req.URL.String(), loopback)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	resp, err := follower.Do(req)
	if err != nil {
		return nil, nil, &Failure{Outcome: NotProcessed, Err: scrubber{}.error(err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, &Failure{Outcome: NotProcessed, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header), Date: date(resp.Header)}
	}
	body, err := ReadAnswer(resp.Body)
	if err != nil {
		return nil, nil, &Failure{Outcome: NotProcessed, Status: http.StatusOK, Err: err}
	}
	return body, resp.Header, nil
}

// ReadAnswer reads the body of an answer that a server should not make long.
func ReadAnswer(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return nil, scrubber{}.error(err)
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return data, nil
}

package s3store_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/examples/s3store"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// standIn keeps the rules of S3 for conditional requests, as its documentation has them, and nothing else of it.
type standIn struct {
	mu      sync.Mutex
	objects map[string][]byte // by path; guarded by mu
}

func etag(value []byte) string {
	sum := md5.Sum(value)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone; S3 writes no half objects
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, there := s.objects[r.URL.Path]
	want, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case (r.Method == http.MethodGet || want != "") && !there:
		refuse(w, http.StatusNotFound, "NoSuchKey")
	case want != "" && want != etag(now), none == "*" && there:
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case r.Method == http.MethodGet:
		w.Header().Set("ETag", etag(now))
		w.Write(now)
	case r.Method == http.MethodPut:
		s.objects[r.URL.Path] = bytes.Clone(body)
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodDelete:
		delete(s.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

func open(t testing.TB, at string) *s3store.Bucket {
	hc := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(hc.CloseIdleConnections)
	return s3store.New(s3.New(s3.Options{
		BaseEndpoint: &at, UsePathStyle: true, Region: "eu-central-1", HTTPClient: hc,
		Credentials:                credentials.NewStaticCredentialsProvider("id", "secret", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired, // over plain http a checksum comes in trailers, which the stand-in does not read
	}), "bucket", "grants/")
}

func TestBucket_keepsTheContract(t *testing.T) {
	server := httptest.NewServer(&standIn{objects: map[string][]byte{}})
	t.Cleanup(server.Close)
	storetest.Run(t, func(t testing.TB) tokenstore.Store { return open(t, server.URL) })
}

func TestBucket_saysWhatElseIsWrong(t *testing.T) {
	for code, status := range map[string]int{"AccessDenied": http.StatusForbidden, "NoSuchBucket": http.StatusNotFound, "SlowDown": http.StatusServiceUnavailable} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			refuse(w, status, code)
		}))
		defer server.Close()
		store := open(t, server.URL)
		_, _, err := store.Load(t.Context(), "k")
		require.ErrorContains(t, err, code)
		require.NotErrorIs(t, err, tokenstore.ErrNotFound)
		_, err = store.Swap(t.Context(), "k", "", []byte("v"))
		require.ErrorContains(t, err, code)
		require.NotErrorIs(t, err, tokenstore.ErrConflict)
	}
}

// Package googleapi calls Cloud Storage through Google's own client library, at an emulator on loopback that checks tokens
// as Google does: at an authorization server.
package googleapi

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"
)

// Emulator is a bucket of Cloud Storage.
type Emulator struct {
	url string
	// ask is the introspection endpoint (RFC 7662) of the authorization server; id and secret are of a client there.
	ask, id, secret string
	http            *http.Client // reaches it

	mu      sync.Mutex
	objects map[string]string // by name; guarded by mu
}

const bucket = "a-bucket"

// Start starts an Emulator that asks introspection about tokens, as the client id with a secret in the form.
func Start(t testing.TB, introspection, id, secret string) *Emulator {
	t.Helper()
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	e := &Emulator{ask: introspection, id: id, secret: secret, http: &http.Client{Transport: base}, objects: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /storage/v1/b/"+bucket, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"kind": "storage#bucket", "name": bucket})
	})
	mux.HandleFunc("POST /upload/storage/v1/b/"+bucket+"/o", e.upload)
	mux.HandleFunc("GET /storage/v1/b/"+bucket+"/o/{name}", e.download)
	server := httptest.NewServer(e.checking(mux))
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

// Use looks at the bucket, stores an object and reads it, with Google's library over hc.
func (e *Emulator) Use(ctx context.Context, hc *http.Client) error {
	service, err := storage.NewService(ctx, option.WithHTTPClient(hc), option.WithEndpoint(e.url+"/storage/v1/"))
	if err != nil {
		return err
	}
	if _, err := service.Buckets.Get(bucket).Context(ctx).Do(); err != nil {
		return err
	}
	const content = "some content"
	object := &storage.Object{Name: "a-name"}
	if _, err := service.Objects.Insert(bucket, object).Media(strings.NewReader(content)).Context(ctx).Do(); err != nil {
		return err
	}
	resp, err := service.Objects.Get(bucket, object.Name).Context(ctx).Download()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && string(got) != content {
		err = fmt.Errorf("the object holds %q", got)
	}
	return err
}

func (e *Emulator) upload(w http.ResponseWriter, req *http.Request) {
	name, content, err := parts(req)
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": map[string]any{"code": http.StatusBadRequest, "message": err.Error()}})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.objects[name] = content
	reply(w, http.StatusOK, map[string]any{"kind": "storage#object", "name": name})
}

// parts reads an upload of type multipart: the object's metadata, then its content.
func parts(req *http.Request) (name, content string, _ error) {
	_, params, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil {
		return "", "", err
	}
	reader := multipart.NewReader(req.Body, params["boundary"])
	first, err := reader.NextPart()
	if err != nil {
		return "", "", err
	}
	var object storage.Object
	if err := json.NewDecoder(first).Decode(&object); err != nil {
		return "", "", err
	}
	second, err := reader.NextPart()
	if err != nil {
		return "", "", err
	}
	data, err := io.ReadAll(second)
	return object.Name, string(data), err
}

func (e *Emulator) download(w http.ResponseWriter, req *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = io.WriteString(w, e.objects[req.PathValue("name")])
}

// checking lets requests with a good token pass.
func (e *Emulator) checking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		if said, err := e.introspect(token); err != nil || !said.Active || !strings.EqualFold(scheme, said.Type) || !said.isProven(req, token) {
			w.Header().Set("WWW-Authenticate", scheme+` realm="https://accounts.google.com/", error="invalid_token"`)
			reply(w, http.StatusUnauthorized, map[string]any{"error": map[string]any{
				"code": http.StatusUnauthorized, "message": "Invalid Credentials", "status": "UNAUTHENTICATED",
			}})
			return
		}
		next.ServeHTTP(w, req)
	})
}

// introspection is what the authorization server says of a token.
type introspection struct {
	Active bool
	Type   string `json:"token_type"`
	Cnf    struct{ JKT string }
}

func (e *Emulator) introspect(token string) (said introspection, _ error) {
	form := url.Values{"token": {token}, "client_id": {e.id}, "client_secret": {e.secret}}
	resp, err := e.http.PostForm(e.ask, form)
	if err != nil {
		return said, err
	}
	defer resp.Body.Close()
	return said, json.NewDecoder(resp.Body).Decode(&said)
}

// isProven reports whether a request comes with the key that its token is bound to, if it is (RFC 9449, section 7.1).
func (said introspection) isProven(req *http.Request, token string) bool {
	if said.Cnf.JKT == "" {
		return true
	}
	proof, err := jose.ParseSignedCompact(req.Header.Get("DPoP"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return false
	}
	key := proof.Signatures[0].Protected.JSONWebKey
	payload, err := proof.Verify(key)
	var claims struct {
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Token  string `json:"ath"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return false
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	sum := sha256.Sum256([]byte(token))
	return err == nil && base64.RawURLEncoding.EncodeToString(thumbprint) == said.Cnf.JKT &&
		claims.Token == base64.RawURLEncoding.EncodeToString(sum[:]) && claims.Method == req.Method &&
		claims.URL == "http://"+req.Host+req.URL.EscapedPath()
}

func reply(w http.ResponseWriter, status int, members map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(members)
}

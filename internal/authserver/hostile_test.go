package authserver_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

// TestHostileHTTP2 has a server that speaks HTTP/2 answer without end. (The other protocol, and all endpoints, are gone
// through in client.TestHostileAnswers.)
func TestHostileHTTP2(t *testing.T) {
	const kilobyte = 1 << 10
	for name, c := range map[string]struct {
		want   authserver.Outcome
		answer func(w io.Writer, header http.Header)
	}{
		"an endless body": {authserver.MaybeProcessed, func(w io.Writer, _ http.Header) {
			_, err := io.WriteString(w, `{"x":"`)
			for err == nil {
				_, err = io.WriteString(w, strings.Repeat("a", kilobyte))
			}
		}},
		"10,000 headers": {authserver.MaybeProcessed, func(w io.Writer, header http.Header) {
			for i := range 10_000 {
				header.Add(fmt.Sprintf("X-%d", i), "value of a header")
			}
			_, _ = io.WriteString(w, tokens)
		}},
		"trailers": {authserver.MaybeProcessed, func(w io.Writer, header http.Header) {
			_, _ = io.WriteString(w, tokens)
			for i := range 10_000 {
				header.Add(fmt.Sprintf("%sX-%d", http.TrailerPrefix, i), "value of a header")
			}
		}},
		"a gzip bomb": {authserver.MaybeProcessed, func(w io.Writer, header http.Header) {
			header.Set("Content-Encoding", "gzip")
			packed := gzip.NewWriter(w)
			_, err := io.WriteString(packed, `{"x":"`)
			for i := 0; i < 16*kilobyte && err == nil; i++ {
				_, err = io.WriteString(packed, strings.Repeat("a", kilobyte))
			}
			_ = packed.Close()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var taken atomic.Int64
			done := make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				if r.ProtoMajor == 2 {
					c.answer(counted{w, &taken}, w.Header())
				}
			}))
			server.EnableHTTP2 = true
			server.Config.ErrorLog = quiet
			server.StartTLS()
			defer server.Close()
			base := server.Client().Transport.(*http.Transport).Clone()
			client := authserver.Client{HTTP: authserver.NewHTTPClient(over(base)), ID: "app", Method: authserver.MethodNone}
			defer client.HTTP.CloseIdleConnections()
			_, err := client.Token(t.Context(), server.URL, refresh("RT-SENTINEL"), nil)
			requireFailure(t, err, c.want)
			require.NotContains(t, err.Error(), "SENTINEL")
			<-done
			require.Less(t, taken.Load(), int64(8<<20), "bytes")
		})
	}
}

// counted counts what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

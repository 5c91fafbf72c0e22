package dpop

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	maxServers = 128  // that are remembered at a time
	maxNonce   = 4096 // bytes of a nonce
)

// Servers remembers what servers have said about proofs: the nonce that the next proof has to carry, and how far their
// clocks are off, by the origin of what a proof is for (RFC 9449 §8.2, §9), which Target has made: another form of the address
// is another server. Keep one for authorization servers and one for resource servers, for both may live at one origin.
// The zero Servers knows none.
type Servers struct {
	mu   sync.Mutex
	said map[string]said // by origin; guarded by mu
}

type said struct {
	nonce string
	skew  time.Duration // of the server's clock against ours
	timed bool          // skew is known
}

// Nonce is what proofs for target have to carry; "" if nothing is known.
func (s *Servers) Nonce(target string) string { return s.of(target).nonce }

// Skew is how far the clock of target's server is ahead of ours, if it has been noticed.
func (s *Servers) Skew(target string) (skew time.Duration, known bool) {
	told := s.of(target)
	return told.skew, told.timed
}

func (s *Servers) of(target string) said {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said[originOf(target)]
}

// originOf is what stands before the path of a target, which is in normal form: equal where the origin is.
func originOf(target string) string {
	_, rest, _ := strings.Cut(target, "://")
	host, _, _ := strings.Cut(rest, "/")
	return target[:len(target)-len(rest)+len(host)]
}

// Nonce is the nonce in an answer; "" if there is none that is good: more than one header, or other characters than
// RFC 9449 §8.1 allows.
func Nonce(answer http.Header) string {
	values := answer["Dpop-Nonce"]
	if len(values) != 1 || !isNonce(values[0]) {
		return ""
	}
	return values[0]
}

// NoticeNonce learns from an answer of any status, and returns the nonce in it, if there is a good one.
func (s *Servers) NoticeNonce(target string, answer http.Header) string {
	nonce := Nonce(answer)
	if nonce != "" {
		s.learn(target, func(told *said) { told.nonce = nonce })
	}
	return nonce
}

// NoticeDate learns a server's clock from an answer that has refused a proof. Only its own proofs are dated by it.
func (s *Servers) NoticeDate(target string, answer http.Header, now time.Time) {
	date, err := http.ParseTime(answer.Get("Date"))
	if err != nil {
		return
	}
	s.learn(target, func(told *said) { told.skew, told.timed = date.Sub(now), true })
}

func (s *Servers) learn(target string, what func(*said)) {
	o := strings.Clone(originOf(target)) // not the whole target
	s.mu.Lock()
	defer s.mu.Unlock()
	told, known := s.said[o]
	if s.said == nil {
		s.said = make(map[string]said)
	}
	if !known && len(s.said) >= maxServers {
		for some := range s.said { // whichever: it costs that server's next request one more send
			delete(s.said, some)
			break
		}
	}
	what(&told)
	s.said[o] = told
}

// isNonce reports whether text has the form of a nonce: NQCHAR (RFC 6749 appendix A), and not endless.
func isNonce(text string) bool {
	return text != "" && len(text) <= maxNonce && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\'
	})
}

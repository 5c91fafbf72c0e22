package clienttest

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// deviceLife is how long a device code is good.
const deviceLife = 10 * time.Minute

// device is one device authorization (RFC 8628).
type device struct {
	client   *registration
	userCode string
	family   *family // its subject is set by Approve
	interval time.Duration
	polled   time.Time
	expires  time.Time
	denied   bool
	used     bool
}

func (s *Server) serveDevice(w http.ResponseWriter, r *http.Request, _ *Request) {
	form, no := form(w, r)
	var answer map[string]any
	s.Change(func() {
		if no == nil {
			answer, no = s.deviceLocked(r, form)
		}
	})
	if no != nil {
		no.write(w)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) deviceLocked(r *http.Request, form url.Values) (map[string]any, *refusal) {
	client, no := s.authenticateLocked(r, form)
	if no != nil {
		return nil, no
	}
	scopes := strings.Fields(form.Get("scope"))
	if no := s.scopesExistLocked(scopes); no != nil {
		return nil, no
	}
	if no := targets(form["resource"]); no != nil {
		return nil, no
	}
	value := "device." + rand.Text()
	word := rand.Text()
	d := &device{
		client:   client,
		userCode: word[:4] + "-" + word[4:8],
		family:   &family{client: client, scopes: scopes, resources: form["resource"]},
		interval: s.Policy.interval(),
		expires:  time.Now().Add(deviceLife),
	}
	s.devices[value] = d
	page := s.Issuer + "/device"
	answer := map[string]any{
		"device_code":               value,
		"user_code":                 d.userCode,
		"verification_uri":          page,
		"verification_uri_complete": page + "?user_code=" + d.userCode,
		"expires_in":                int64(deviceLife / time.Second),
	}
	if s.Policy.Interval != 0 {
		answer["interval"] = int64(s.Policy.Interval / time.Second)
	}
	return answer, nil
}

// pollLocked answers a device code (RFC 8628 section 3.5). Each poll that comes too early makes the interval
// five seconds longer.
func (s *Server) pollLocked(client *registration, form url.Values, key string) (issue, *refusal) {
	d := s.devices[form.Get("device_code")]
	switch {
	case form.Get("device_code") == "":
		return issue{}, refused("invalid_request", "device_code is missing")
	case d == nil || d.client != client || d.used:
		return issue{}, refused("invalid_grant", "the device code is not this client's, or was used before")
	}
	early := !d.polled.IsZero() && time.Since(d.polled) < d.interval
	d.polled = time.Now()
	switch {
	case !time.Now().Before(d.expires):
		return issue{}, refused("expired_token", "the device code has expired")
	case early:
		d.interval += 5 * time.Second
		return issue{}, refused("slow_down", "the device polls too fast")
	case d.denied:
		return issue{}, refused("access_denied", "the person said no")
	case d.family.subject == "":
		return issue{}, refused("authorization_pending", "the person has not answered yet")
	}
	d.used, d.family.key = true, key
	return s.startLocked(d.family, form)
}

// Approve plays the person who types a device's user code and agrees, as Policy.Subject.
func (s *Server) Approve(userCode string) error {
	return s.decide(userCode, func(d *device) { d.family.subject = s.Policy.subject() })
}

// Deny plays the person who types a device's user code and refuses.
func (s *Server) Deny(userCode string) error {
	return s.decide(userCode, func(d *device) { d.denied = true })
}

func (s *Server) decide(userCode string, decide func(*device)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.userCode == userCode && time.Now().Before(d.expires) {
			decide(d)
			return nil
		}
	}
	return errors.New("clienttest: no device shows this user code, or not any more")
}

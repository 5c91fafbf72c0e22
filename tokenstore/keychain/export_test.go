package keychain

// Ring is what a Store uses of go-keyring.
type Ring = ring

// NewOver makes a Store over a keychain of the test's, whose items are at most limit bytes long.
func NewOver(r Ring, limit int, service, dir string) (*Store, error) {
	s, err := New(service, Options{Dir: dir})
	if err == nil {
		s.ring, s.limit = r, limit
	}
	return s, err
}

// ClassifyOn says what an error of go-keyring means on an operating system.
var ClassifyOn = classifyOn

// ShortLimit is the longest item of macOS and Windows.
const ShortLimit = 2400

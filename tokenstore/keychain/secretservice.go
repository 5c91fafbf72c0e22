//go:build !windows && !darwin

package keychain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// native is the Secret Service. Its items have no limit; this one keeps them at a size that services
// are quick with. What they cannot write they say.
var native = platform{limit: 64 << 10, look: lookAtService}

// The names of the Secret Service specification, and the two keyrings that go-keyring looks for.
const (
	busName        = "org.freedesktop.secrets"
	serviceType    = "org.freedesktop.Secret.Service"
	collectionType = "org.freedesktop.Secret.Collection"
	servicePath    = dbus.ObjectPath("/org/freedesktop/secrets")
	loginPath      = dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
	noPath         = dbus.ObjectPath("/")
	getProperty    = "org.freedesktop.DBus.Properties.Get"
)

// lookAtService reads the state of the keyring that go-keyring uses. Reading it asks nobody, and starts
// no bus. It has a connection of its own, because go-keyring's cannot be left when ctx ends.
func lookAtService(ctx context.Context) error {
	bus, err := dbus.SessionBusPrivateNoAutoStartup(dbus.WithContext(ctx))
	if err == nil {
		defer bus.Close()
		err = bus.Auth(nil)
	}
	if err == nil {
		err = bus.Hello()
	}
	if err != nil {
		return classify(err)
	}
	keyring, err := findKeyring(ctx, bus.Object(busName, servicePath))
	if err != nil {
		return classify(err)
	}
	if keyring == noPath {
		return explain(ErrUnavailable, errors.New("the Secret Service has no keyring yet"))
	}
	var locked bool
	err = bus.Object(busName, keyring).CallWithContext(ctx, getProperty, 0, collectionType, "Locked").Store(&locked)
	switch {
	case err != nil:
		return classify(err)
	case locked:
		return explain(ErrLocked, fmt.Errorf("the keyring %s is locked", keyring))
	}
	return nil
}

// findKeyring returns the keyring that go-keyring uses: the one called login, else the default one.
func findKeyring(ctx context.Context, object dbus.BusObject) (keyring dbus.ObjectPath, err error) {
	var all []dbus.ObjectPath
	if err := object.CallWithContext(ctx, getProperty, 0, serviceType, "Collections").Store(&all); err != nil {
		return "", err
	}
	if slices.Contains(all, loginPath) {
		return loginPath, nil
	}
	err = object.CallWithContext(ctx, serviceType+".ReadAlias", 0, "default").Store(&keyring)
	return keyring, err
}

// meaningOfName looks at the names of D-Bus's errors. The text of such an error need not hold it.
func meaningOfName(err error) error {
	var refused dbus.Error
	if !errors.As(err, &refused) {
		return nil
	}
	name, isBus := strings.CutPrefix(refused.Name, "org.freedesktop.DBus.Error.")
	switch {
	case refused.Name == "org.freedesktop.Secret.Error.IsLocked":
		return ErrLocked
	case !isBus:
		return nil
	case name == "AccessDenied":
		return ErrDenied
	case strings.HasPrefix(name, "Spawn."), slices.Contains(absences, name), slices.Contains(silences, name):
		return ErrUnavailable
	}
	return nil
}

// isUnanswered reports whether there was a keychain, and its answer did not come: it crashed, or hangs.
func isUnanswered(err error) bool {
	var refused dbus.Error
	var network *net.OpError
	switch {
	case errors.As(err, &refused):
		return slices.Contains(silences, strings.TrimPrefix(refused.Name, "org.freedesktop.DBus.Error."))
	case errors.As(err, &network):
		return network.Op != "dial"
	}
	return errors.Is(err, dbus.ErrClosed) || errors.Is(err, io.EOF)
}

// silences are the errors of a bus on which a service has not answered.
var silences = []string{"NoReply", "Disconnected", "Timeout", "TimedOut"}

// absences are the errors of a bus on which there is no service, or no Secret Service under its name.
// Others, such as Failed, are the service's own.
var absences = []string{
	"ServiceUnknown", "NameHasNoOwner", "NoServer",
	"UnknownObject", "UnknownInterface", "UnknownMethod", "UnknownProperty",
}

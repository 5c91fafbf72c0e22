package postgresd

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// unprivileged says how the server's processes are started: to end with this one and, if this one is root's, as the
// user that Debian's package makes. uid is -1 if they are this process's user's.
func unprivileged() (attributes *syscall.SysProcAttr, uid int, err error) {
	attributes = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT} // to the server, an order to end at once
	if os.Geteuid() != 0 {
		return attributes, -1, nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		return nil, -1, fmt.Errorf("postgresd: PostgreSQL does not run as root: %w", err)
	}
	id, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return nil, -1, fmt.Errorf("postgresd: %w", err)
	}
	group, err := strconv.ParseUint(owner.Gid, 10, 32)
	if err != nil {
		return nil, -1, fmt.Errorf("postgresd: %w", err)
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(id), Gid: uint32(group)}
	return attributes, int(id), nil
}

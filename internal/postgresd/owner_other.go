//go:build !linux

package postgresd

import "syscall"

func unprivileged() (attributes *syscall.SysProcAttr, uid int, err error) {
	return nil, -1, ErrNotInstalled
}

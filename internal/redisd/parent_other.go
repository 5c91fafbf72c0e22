//go:build !linux

package redisd

import "syscall"

// dieWithParent: a killed process leaves its server behind here, which tests on this system have to live with.
func dieWithParent() *syscall.SysProcAttr { return nil }

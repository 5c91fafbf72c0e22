//go:build !linux

package redisd

import (
	"os"
	"syscall"
)

// dieWithParent: a killed process leaves its server behind here, which tests on this system have to live with.
func dieWithParent() *syscall.SysProcAttr { return nil }

func terminate(p *os.Process) error { return p.Signal(os.Interrupt) }

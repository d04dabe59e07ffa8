package main

import "syscall"

// childAttributes make the kernel end a child whose parent died, however it died.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

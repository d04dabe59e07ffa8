//go:build unix && !linux

package localcluster

import "syscall"

// childAttributes: this system has no way to end a child whose parent was
// killed; the parent stops it in every other case.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

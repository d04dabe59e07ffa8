//go:build unix && !linux

package main

import "syscall"

// childAttributes: a child ends when its standard input does.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

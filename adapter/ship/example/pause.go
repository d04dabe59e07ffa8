package main

import "syscall"

// pauseProcess stops a process where it is, with its connections open.
func pauseProcess(c *child) error { return c.signal(syscall.SIGSTOP) }

// continueProcess lets it go on, as if no time had passed.
func continueProcess(c *child) error { return c.signal(syscall.SIGCONT) }

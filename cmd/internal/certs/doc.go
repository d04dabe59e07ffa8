// Package certs makes gRPC credentials of certificate files, and follows the
// files when they are renewed, so that no process is restarted for that. It
// knows files and TLS, and no flag.
package certs

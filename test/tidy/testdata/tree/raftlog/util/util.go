// Package util is a name that says nothing.
package util

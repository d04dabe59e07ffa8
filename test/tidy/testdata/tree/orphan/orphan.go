// Package orphan is in no layer.
package orphan

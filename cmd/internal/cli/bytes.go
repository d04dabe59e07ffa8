package cli

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// Bytes is a byte string in JSON: as text where it is one.
type Bytes struct {
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
}

// BytesOf makes it.
func BytesOf(b []byte) Bytes {
	if utf8.Valid(b) {
		return Bytes{Text: string(b)}
	}
	return Bytes{Base64: base64.StdEncoding.EncodeToString(b)}
}

// Shown is a byte string in a table: quoted where it is not plain text.
func Shown(b []byte) string {
	quoted := strconv.Quote(string(b))
	if quoted == `"`+string(b)+`"` {
		return string(b)
	}
	return quoted
}

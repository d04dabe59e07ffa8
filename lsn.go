package pinetree

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is the end position of a record in one volume's log, in bytes of that
// log. It rises from record to record and may skip values. Zero means "before
// the first record". LSNs of different volumes are not comparable.
type LSN uint64

// String prints the LSN as PostgreSQL does, `hi/LO` in upper-case hexadecimal.
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}

// ParseLSN reads the form that String prints.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("LSN %q: want two hexadecimal numbers joined by a slash, such as 0/16B3740", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: the part before the slash is not a 32-bit hexadecimal number", s)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: the part after the slash is not a 32-bit hexadecimal number", s)
	}
	return LSN(h<<32 | l), nil
}

// MarshalText prints the LSN for JSON and flags.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText printed.
func (l *LSN) UnmarshalText(text []byte) error {
	parsed, err := ParseLSN(string(text))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}

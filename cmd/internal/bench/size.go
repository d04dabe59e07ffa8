package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes on the command line: a number, or one with KiB, MiB or
// GiB after it (K, M and G for short).
type Size int

var units = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String prints the largest unit that leaves a whole number.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int(s)%u.bytes == 0 {
			return fmt.Sprintf("%d %s", int(s)/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d B", int(s))
}

// Set reads what String prints, with or without the space.
func (s *Size) Set(text string) error {
	number, scale := strings.TrimSpace(strings.TrimSuffix(text, " B")), 1
	for _, u := range units {
		for _, suffix := range []string{u.name, u.name[:1]} {
			if rest, found := strings.CutSuffix(number, suffix); found && scale == 1 {
				number, scale = strings.TrimSpace(rest), u.bytes
			}
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > 1<<30/scale {
		return fmt.Errorf("%q: want a number of bytes up to 1 GiB, such as 4096, 4KiB or 1GiB", text)
	}
	*s = Size(n * scale)
	return nil
}

// Type names the kind of value in a command's help.
func (s *Size) Type() string { return "bytes" }

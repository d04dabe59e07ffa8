package cli

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes on the command line: a number, or one with KiB, MiB,
// GiB or TiB after it (K, M, G, T for short). As a limit, zero is none.
type Size uint64

var sizeUnits = []struct {
	name  string
	bytes uint64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String prints the largest unit that leaves a whole number.
func (b Size) String() string {
	for _, u := range sizeUnits {
		if b != 0 && uint64(b)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", uint64(b)/u.bytes, u.name)
		}
	}
	return strconv.FormatUint(uint64(b), 10)
}

// About prints it with one digit after the point, for people.
func (b Size) About() string {
	for _, u := range sizeUnits {
		if uint64(b) >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(b)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", uint64(b))
}

// Set reads what String prints.
func (b *Size) Set(text string) error {
	number, scale := text, uint64(1)
	for _, u := range sizeUnits {
		for _, suffix := range []string{u.name, u.name[:1]} {
			if rest, found := strings.CutSuffix(number, suffix); found && scale == 1 {
				number, scale = strings.TrimSpace(rest), u.bytes
			}
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > 1<<62/scale {
		return fmt.Errorf("%q: want a number of bytes, such as 4096, 64MiB or 2GiB", text)
	}
	*b = Size(n * scale)
	return nil
}

// Type names the kind of value in a command's help.
func (b *Size) Type() string { return "bytes" }

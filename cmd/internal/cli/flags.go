package cli

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// environmentPrefix begins the environment variable of every flag: --manager is
// PINETREE_MANAGER.
const environmentPrefix = "PINETREE_"

func environmentName(flag string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// FromEnvironment gives the flags that were not set on the command line the
// values of their environment variables.
func FromEnvironment(c *cobra.Command) error {
	return fill(c, func(f *pflag.Flag) (string, string, bool) {
		name := environmentName(f.Name)
		value, there := os.LookupEnv(name)
		return name, value, there && value != ""
	})
}

// FromFile gives the flags that were set neither on the command line nor by the
// environment the values of a YAML file, whose keys are the flags' names. A key
// that is no flag is an error, so that a misspelt one is not ignored.
func FromFile(c *cobra.Command, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return UsageError{fmt.Errorf("--config: %w", err)}
	}
	var settings map[string]any
	if err := yaml.Unmarshal(data, &settings); err != nil {
		return UsageError{fmt.Errorf("--config %s: %w", path, err)}
	}
	for key := range settings {
		if slices.Contains(contextKeys, key) {
			continue // a file of contexts, which the environment names for other commands
		}
		if c.Flags().Lookup(key) == nil {
			return Usagef("--config %s: %q is not a setting; `%s --help` lists them", path, key, c.CommandPath())
		}
	}
	return fill(c, func(f *pflag.Flag) (string, string, bool) {
		value, there := settings[f.Name]
		return path + ": " + f.Name, plain(value), there
	})
}

// plain writes a YAML value as a flag takes it: a list joined by commas.
func plain(value any) string {
	list, isList := value.([]any)
	if !isList {
		return fmt.Sprint(value)
	}
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}

// fill sets the flags that were not set yet; look tells where a value comes
// from, the value, and whether there is one.
func fill(c *cobra.Command, look func(*pflag.Flag) (from, value string, there bool)) error {
	var failed error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil || f.Name == "help" {
			return
		}
		from, value, there := look(f)
		if !there {
			return
		}
		if err := c.Flags().Set(f.Name, value); err != nil {
			failed = Usagef("%s: %w", from, err)
		}
	})
	return failed
}

// Required reports the flags that have no value.
func Required(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if f := c.Flags().Lookup(name); f.Value.String() == "" || f.Value.String() == "[]" {
			return Usagef("--%s is missing: %s", name, f.Usage)
		}
	}
	return nil
}

// Logging is how a long-running command logs.
type Logging struct {
	level  string
	format string
}

// Flag adds --log-level and --log-format to a command.
func (l *Logging) Flag(c *cobra.Command) {
	c.Flags().StringVar(&l.level, "log-level", "info", "least important messages that are logged: debug, info, warn or error")
	c.Flags().StringVar(&l.format, "log-format", "text", "how messages are logged: text or json")
}

// Logger writes to standard error.
func (l *Logging) Logger() (*slog.Logger, error) {
	options := &slog.HandlerOptions{}
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, Usagef("--log-level %q: want debug, info, warn or error", l.level)
	}
	options.Level = level
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return nil, Usagef("--log-format %q: want text or json", l.format)
}

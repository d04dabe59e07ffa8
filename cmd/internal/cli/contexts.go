package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/pinetree-db/pinetree/cmd/internal/certs"
)

// contextsVariable names the file of contexts in the environment.
const contextsVariable = environmentPrefix + "CONFIG"

// Context is how one cluster is reached. Files that are named relatively are
// looked for beside the file of contexts.
type Context struct {
	Name     string   `yaml:"name" json:"name"`
	Managers []string `yaml:"managers" json:"managers"`
	TLS      struct {
		CA         string `yaml:"ca,omitempty" json:"ca,omitempty"`
		Cert       string `yaml:"cert,omitempty" json:"cert,omitempty"`
		Key        string `yaml:"key,omitempty" json:"key,omitempty"`
		ServerName string `yaml:"server-name,omitempty" json:"server_name,omitempty"`
	} `yaml:"tls,omitempty" json:"tls"`
}

// SetTLS takes over the files of a command line, by their absolute names.
func (c *Context) SetTLS(f certs.Files) error {
	c.TLS.ServerName = f.ServerName
	for _, file := range []struct {
		to   *string
		from string
	}{{&c.TLS.CA, f.CA}, {&c.TLS.Cert, f.Cert}, {&c.TLS.Key, f.Key}} {
		*file.to = ""
		if file.from == "" {
			continue
		}
		absolute, err := filepath.Abs(file.from)
		if err != nil {
			return err
		}
		*file.to = absolute
	}
	return nil
}

// flags are the values of the flags that the context stands for.
func (c *Context) flags(beside string) map[string]string {
	file := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(beside, name)
	}
	return map[string]string{
		"manager": strings.Join(c.Managers, ","), "tls-ca": file(c.TLS.CA), "tls-cert": file(c.TLS.Cert), "tls-key": file(c.TLS.Key),
		"tls-server-name": c.TLS.ServerName,
	}
}

// Contexts are the clusters that an operator's file names.
type Contexts struct {
	Current string    `yaml:"current-context"`
	List    []Context `yaml:"contexts"`
	path    string
	foreign bool // the file holds the settings of a node
}

// ContextsPath is where the contexts are: where PINETREE_CONFIG says, or in the
// user's own configuration.
func ContextsPath() (string, error) {
	if path := os.Getenv(contextsVariable); path != "" {
		return path, nil
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pinetree", "config.yaml"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no place for contexts: %w; %s names a file for them", err, contextsVariable)
	}
	return filepath.Join(home, ".config", "pinetree", "config.yaml"), nil
}

// LoadContexts reads the contexts; there are none when there is no file. A file
// without any may be one that `pinetree node --config` takes.
func LoadContexts() (*Contexts, error) {
	path, err := ContextsPath()
	if err != nil {
		return nil, err
	}
	c := &Contexts{path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	var keys map[string]any
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !slices.ContainsFunc(contextKeys, func(k string) bool { _, there := keys[k]; return there }) {
		c.foreign = len(keys) > 0
		return c, nil
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// contextKeys are the keys of a file of contexts.
var contextKeys = []string{"current-context", "contexts"}

// Find returns the context of a name. It stays part of the contexts.
func (c *Contexts) Find(name string) (*Context, error) {
	if at := slices.IndexFunc(c.List, func(one Context) bool { return one.Name == name }); at >= 0 {
		return &c.List[at], nil
	}
	known := "it has none"
	if len(c.List) > 0 {
		known = "it has " + strings.Join(c.Names(), ", ")
	}
	return nil, Usagef("there is no context %q in %s: %s; `context set` makes one", name, c.path, known)
}

// Names are the names of all contexts.
func (c *Contexts) Names() []string {
	var names []string
	for _, one := range c.List {
		names = append(names, one.Name)
	}
	return names
}

// Path is the file that the contexts are in.
func (c *Contexts) Path() string { return c.path }

// Save writes the contexts, for their owner only. A reader sees the old file or
// the new one.
func (c *Contexts) Save() (err error) {
	if c.foreign {
		return fmt.Errorf("%s holds settings of a node; name another file for contexts by %s", c.path, contextsVariable)
	}
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.path), ".contexts-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // what was wrong is told
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path)
}

// FromContext gives the flags of a command that asks managers the values of a
// context: the one that --context names, or the current one unless managers were
// named otherwise. What was set by flags or the environment stays as it is.
func FromContext(c *cobra.Command) error {
	named := c.Flags().Lookup("context")
	if named == nil || !named.Changed && c.Flags().Changed("manager") {
		return nil
	}
	contexts, err := LoadContexts()
	if err != nil {
		return UsageError{err}
	}
	name := cmp.Or(named.Value.String(), contexts.Current)
	if name == "" {
		return nil
	}
	one, err := contexts.Find(name)
	if err != nil {
		return err
	}
	values := one.flags(filepath.Dir(contexts.path))
	return fill(c, func(f *pflag.Flag) (string, string, bool) {
		value := values[f.Name]
		return fmt.Sprintf("context %s: %s", name, f.Name), value, value != ""
	})
}

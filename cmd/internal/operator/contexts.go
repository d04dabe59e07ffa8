package operator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

func contextCommand() *cobra.Command {
	c := family("context", "Contexts: clusters by name", contextList(), contextUse(), contextSet(), contextDelete())
	c.Long = `Contexts name clusters: the addresses of their managers, and the TLS files to reach
them with. They are in ~/.config/pinetree/config.yaml, or where PINETREE_CONFIG says:

  current-context: production
  contexts:
    - name: production
      managers: [10.0.0.9:7000, 10.0.1.9:7000, 10.0.2.9:7000]
      tls: {ca: ca.pem, cert: me.pem, key: me.key}

All commands of clustermgr and of pinetree that ask managers use the current one, or
the one that --context names. What is given as flags, or in the environment, counts
more; and --manager or PINETREE_MANAGER without --context means no context at all.`
	return c
}

// contextVerb is a verb that works on the file of contexts.
func contextVerb(c *cobra.Command, run func(contexts *cli.Contexts, args []string) error) *cobra.Command {
	var output cli.Output
	output.Flag(c)
	c.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		contexts, err := cli.LoadContexts()
		if err != nil || len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return contexts.Names(), cobra.ShellCompDirectiveNoFileComp
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		contexts, err := cli.LoadContexts()
		if err != nil {
			return err
		}
		if err := run(contexts, args); err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), contextsListing(contexts))
	}
	return c
}

func contextsListing(c *cli.Contexts) cli.Listing {
	list := make([]contextJSON, 0, len(c.List))
	l := cli.Listing{
		Columns: []string{"", "context", "managers", "TLS"},
		Empty:   "There is no context in " + c.Path() + "; make one with `clustermgr context set NAME --manager ADDRESS`.",
	}
	for _, one := range c.List {
		mark, protected := "", "no"
		if one.Name == c.Current {
			mark = "*"
		}
		if one.TLS.CA != "" {
			protected = "with authority " + one.TLS.CA
		}
		if one.TLS.Cert != "" {
			protected += ", as " + one.TLS.Cert
		}
		list = append(list, contextJSON{one, one.Name == c.Current})
		l.Rows = append(l.Rows, []any{mark, one.Name, strings.Join(one.Managers, ", "), protected})
	}
	l.JSON = list
	return l
}

func contextList() *cobra.Command {
	return contextVerb(&cobra.Command{Use: "ls", Short: "List the contexts", Example: "  clustermgr context ls"},
		func(*cli.Contexts, []string) error { return nil })
}

func contextUse() *cobra.Command {
	return contextVerb(&cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1), Example: "  clustermgr context use production",
	}, func(contexts *cli.Contexts, args []string) error {
		if _, err := contexts.Find(args[0]); err != nil {
			return err
		}
		contexts.Current = args[0]
		return contexts.Save()
	})
}

func contextSet() *cobra.Command {
	var managers cli.Managers
	var use bool
	c := &cobra.Command{
		Use: "set NAME", Short: "Make a context, or give it other managers or TLS files", Args: cobra.ExactArgs(1),
		Long: `Make a context, or give it other managers or TLS files: what is not given stays as
it is. The first context that is made becomes the current one.`,
		Example: "  clustermgr context set production --manager 10.0.0.9:7000,10.0.1.9:7000 --tls-ca ca.pem --tls-cert me.pem --tls-key me.key --use",
	}
	managers.Flag(c)
	c.Flags().BoolVar(&use, "use", false, "make it the current context, too")
	return contextVerb(c, func(contexts *cli.Contexts, args []string) error {
		one, err := contexts.Find(args[0])
		switch {
		case strings.TrimSpace(args[0]) == "":
			return cli.Usagef("a context needs a name")
		case err != nil && !c.Flags().Changed("manager"):
			return cli.Usagef("--manager is missing: the addresses of the managers of the new context %s", args[0])
		case err != nil:
			contexts.List = append(contexts.List, cli.Context{Name: args[0]})
			one = &contexts.List[len(contexts.List)-1]
		}
		if c.Flags().Changed("manager") {
			one.Managers = managers.Addresses
		}
		if slices.ContainsFunc([]string{"tls-ca", "tls-cert", "tls-key", "tls-server-name"}, c.Flags().Changed) {
			if err := one.SetTLS(managers.TLS.Files); err != nil {
				return err
			}
		}
		if use || len(contexts.List) == 1 {
			contexts.Current = args[0]
		}
		return contexts.Save()
	})
}

func contextDelete() *cobra.Command {
	return contextVerb(&cobra.Command{
		Use: "delete NAME", Short: "Forget a context; the cluster is not touched", Args: cobra.ExactArgs(1), Example: "  clustermgr context delete old",
	}, func(contexts *cli.Contexts, args []string) error {
		if _, err := contexts.Find(args[0]); err != nil {
			return fmt.Errorf("nothing was deleted: %w", err)
		}
		contexts.List = slices.DeleteFunc(contexts.List, func(one cli.Context) bool { return one.Name == args[0] })
		if contexts.Current == args[0] {
			contexts.Current = ""
		}
		return contexts.Save()
	})
}

package metaverbs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/metaclient"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/meta"
)

func txn(f *command) *cobra.Command {
	var conditions, then, otherwise []string
	c := &cobra.Command{
		Use: "txn", Short: "Compare and then write, in one step", Args: cobra.NoArgs,
		Long: `Carry out the --then steps if all --if conditions hold, and else the --else steps, in one
step: nobody sees a part of it. It is carried out once, however often it must be sent.

A condition is one of these, with =, !=, < or >:
  value KEY = VALUE        version KEY = 3 (0: not there)
  created KEY < 12         modified KEY > 12 (revisions)
A step is one of these:
  put KEY VALUE            get KEY [END]            delete KEY [END]
Words with spaces or other bytes are quoted as in Go: put "a key" "\x00\x01".
The exit code is 0 whichever branch was taken.`,
		Example: `  pinetree meta txn --volume pg --if 'version lock = 0' --then 'put lock node-a' --else 'get lock'
  pinetree meta txn --volume pg --if 'value owner = node-a' --then 'put owner node-b' --then 'delete handover'`,
	}
	f.writes(c)
	c.Flags().StringArrayVar(&conditions, "if", nil, "condition; repeat it for more, which must all hold")
	c.Flags().StringArrayVar(&then, "then", nil, "step when they hold; repeat it for more")
	c.Flags().StringArrayVar(&otherwise, "else", nil, "step when one does not; repeat it for more")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		var x meta.Txn
		var err error
		if x.Compares, err = parseAll(conditions, "if", parseCondition); err != nil {
			return err
		}
		if x.Then, err = parseAll(then, "then", parseStep); err != nil {
			return err
		}
		if x.Otherwise, err = parseAll(otherwise, "else", parseStep); err != nil {
			return err
		}
		if len(x.Then)+len(x.Otherwise) == 0 {
			return cli.Usagef("want at least one --then or --else")
		}
		return f.use(cmd, func(ctx context.Context, client *metaclient.Client) error {
			r, err := client.Txn(ctx, x)
			if err != nil {
				return err
			}
			return f.output.Print(cmd.OutOrStdout(), txnListing(x, r))
		})
	}
	return c
}

func parseAll[T any](texts []string, flag string, parse func([]string) (T, error)) ([]T, error) {
	var all []T
	for _, text := range texts {
		list, err := words(text)
		var one T
		if err == nil {
			one, err = parse(list)
		}
		if err != nil {
			return nil, cli.Usagef("--%s %s: %w", flag, text, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// words splits at spaces; a word in double quotes is as in Go.
func words(text string) ([]string, error) {
	var list []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		word, rest, _ := strings.Cut(text, " ")
		if text[0] == '"' {
			quoted, err := strconv.QuotedPrefix(text)
			if err != nil {
				return nil, errors.New("a quote that does not end")
			}
			if word, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
			rest = text[len(quoted):]
		}
		list, text = append(list, word), rest
	}
	return list, nil
}

var (
	targetNames   = map[string]meta.Target{"value": meta.TargetValue, "version": meta.TargetVersion, "created": meta.TargetCreated, "modified": meta.TargetModified}
	relationNames = map[string]meta.Relation{"=": meta.Equal, "!=": meta.NotEqual, "<": meta.Less, ">": meta.Greater}
)

func parseCondition(list []string) (meta.Compare, error) {
	if len(list) != 4 {
		return meta.Compare{}, errors.New(`want four words such as version KEY = 0`)
	}
	target, known := targetNames[list[0]]
	relation, meant := relationNames[list[2]]
	if !known || !meant {
		return meta.Compare{}, fmt.Errorf("want one of %s, a key, one of = != < >, and what to compare with", "value, version, created and modified")
	}
	c := meta.Compare{Key: []byte(list[1]), Target: target, Relation: relation}
	if target == meta.TargetValue {
		c.Value = []byte(list[3])
		return c, nil
	}
	var err error
	if c.Number, err = strconv.ParseUint(list[3], 10, 64); err != nil {
		return c, fmt.Errorf("%q is no number", list[3])
	}
	return c, nil
}

func parseStep(list []string) (meta.Op, error) {
	if len(list) < 2 || len(list) > 3 {
		return meta.Op{}, errors.New("want put KEY VALUE, get KEY [END] or delete KEY [END]")
	}
	op := meta.Op{Span: meta.Span{Key: []byte(list[1])}}
	switch list[0] {
	case "put":
		if len(list) != 3 {
			return op, errors.New("want put KEY VALUE")
		}
		op.Kind, op.Value = meta.OpPut, []byte(list[2])
		return op, nil
	case "get":
		op.Kind = meta.OpGet
	case "delete":
		op.Kind = meta.OpDelete
	default:
		return op, fmt.Errorf("%q is none of put, get and delete", list[0])
	}
	if len(list) == 3 {
		op.End = []byte(list[2])
	}
	return op, nil
}

// stepJSON is what one step of a transaction did. Scripts depend on it.
type stepJSON struct {
	Step    string     `json:"step"`
	Items   []itemJSON `json:"items,omitempty"`
	More    bool       `json:"more,omitempty"`
	Deleted *int       `json:"deleted,omitempty"`
}

func txnListing(x meta.Txn, r meta.Result) cli.Listing {
	branch := map[bool][]meta.Op{true: x.Then, false: x.Otherwise}[r.Succeeded]
	steps := make([]stepJSON, 0, len(r.Ops))
	l := cli.Listing{
		Columns: []string{"step", "key", "did"},
		Empty:   fmt.Sprintf("The conditions held: %t. Nothing was to be done. Revision %d.", r.Succeeded, r.Revision),
		Below:   []string{fmt.Sprintf("the conditions held: %t; revision %d", r.Succeeded, r.Revision)},
	}
	for n, did := range r.Ops {
		s, key := stepJSON{More: did.More}, cli.Shown(branch[n].Key)
		switch branch[n].Kind {
		case meta.OpPut:
			s.Step = "put"
			l.Rows = append(l.Rows, []any{"put", key, "is set"})
		case meta.OpDelete:
			s.Step, s.Deleted = "delete", new(did.Deleted)
			l.Rows = append(l.Rows, []any{"delete", key, fmt.Sprintf("%d deleted", did.Deleted)})
		case meta.OpGet:
			s.Step = "get"
			for _, item := range did.Items {
				s.Items = append(s.Items, itemJSONOf(item))
				l.Rows = append(l.Rows, []any{"get", cli.Shown(item.Key), cli.Shown(item.Value)})
			}
			if len(did.Items) == 0 {
				l.Rows = append(l.Rows, []any{"get", key, "is not there"})
			}
		}
		steps = append(steps, s)
	}
	l.JSON = struct {
		Succeeded bool                  `json:"succeeded"`
		Revision  pinetree.MetaRevision `json:"revision"`
		Steps     []stepJSON            `json:"steps"`
	}{r.Succeeded, r.Revision, steps}
	return l
}

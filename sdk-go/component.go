package dataflare

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"dataflare.dev/sdk-go/internal/rows"
)

// component is one component of a plugin, as it was registered.
type component struct {
	kind, name, doc string
	version         int
	lanes           *int
	aliases         []string
	deprecated      string
	config          *settings
	input           *settings // of a tool
	abilities       map[string]any
	operations      []string
	states          []string
	takes           *rows.Plan            // what rows are read as
	gives           map[string]*rows.Plan // output → what its rows are
	adds            *rows.Plan
	by              string // the field of the configuration that names the key columns
	outputs         []string
	planned         func(config any, inputs map[string]Schema) (map[string]Schema, error)
	check           func(Context, any) error
	discover        func(Context, any) ([]Stream, error)
	open            func(*surroundings, any) (driver, error)
	created         func(Context, any) (any, error)
	updated         func(ctx Context, config any, made, before json.RawMessage) (any, error)
	deleted         func(ctx Context, config any, made json.RawMessage) error
	migratePosition func(version int, old json.RawMessage) (any, error)
	migrateState    func(version int, name string, old json.RawMessage) (any, error)
	call            func(*surroundings, any, json.RawMessage, func(any)) (any, error)
}

// Stream is something that a source could read, or a sink could write.
type Stream struct {
	Name   string
	Schema *Schema
	Key    []string
	Cursor string
}

// Option says more of a component when it is registered.
type Option interface{ apply(*component) }

type option func(*component)

func (o option) apply(c *component) { o(c) }

// Aliases are older names of a component.
func Aliases(names ...string) Option { return option(func(c *component) { c.aliases = names }) }

// Deprecated says what to use instead.
func Deprecated(why string) Option { return option(func(c *component) { c.deprecated = why }) }

// Version is the version of a component's positions, states and snapshots; 1, where nothing is said.
func Version(version int) Option { return option(func(c *component) { c.version = version }) }

// Lanes is the most lanes that a component may have.
func Lanes(most int) Option { return option(func(c *component) { c.lanes = &most }) }

// Effects is what a component does beside its rows: "none", "reads", "writes".
func Effects(effects string) Option { return ability("effects", effects) }

// Nondeterministic says that the same rows may give others the next time.
func Nondeterministic() Option { return ability("deterministic", false) }

func ability(name string, value any) Option {
	return option(func(c *component) { c.abilities[name] = value })
}

// Takes says what the rows of the input are: an input that cannot fill them is refused before the flow starts.
func Takes[T any]() Option {
	plan := planFor[T]()
	return option(func(c *component) { c.takes = plan })
}

// Gives says what the rows of these outputs (of a source: streams) are; none: of the main one.
func Gives[T any](outputs ...string) Option {
	plan := planFor[T]()
	if len(outputs) == 0 {
		outputs = []string{""}
	}
	return option(func(c *component) {
		for _, name := range outputs {
			c.gives[name] = plan
		}
	})
}

// Adds says that the output has the columns of the input, and those of a struct.
func Adds[T any]() Option {
	plan := planFor[T]()
	return option(func(c *component) { c.adds = plan })
}

// Plan tells the schema of the main output from that of the input and the configuration, or refuses.
func Plan[C any](f func(config C, input Schema) (Schema, error)) Option {
	return PlanAll(func(config C, inputs map[string]Schema) (map[string]Schema, error) {
		schema, err := f(config, inputs[""])
		return map[string]Schema{"": schema}, err
	})
}

// PlanAll is Plan for all inputs and all outputs (of a source: streams) by name, "" for the main one.
func PlanAll[C any](f func(config C, inputs map[string]Schema) (map[string]Schema, error)) Option {
	return option(func(c *component) {
		sameConfig[C](c, "Plan")
		c.planned = func(config any, inputs map[string]Schema) (map[string]Schema, error) {
			return f(config.(C), inputs)
		}
		c.operations = append(c.operations, "plan")
	})
}

// Check tells before a flow starts whether a component can work with this configuration: nil, an error, or several
// joined by errors.Join. Invalid names the field that is wrong.
func Check[C any](f func(Context, C) error) Option {
	return option(func(c *component) {
		sameConfig[C](c, "Check")
		c.check = func(ctx Context, config any) error { return f(ctx, config.(C)) }
		c.operations = append(c.operations, "check")
	})
}

// Discover tells what could be read or written with this configuration.
func Discover[C any](f func(Context, C) ([]Stream, error)) Option {
	return option(func(c *component) {
		sameConfig[C](c, "Discover")
		c.discover = func(ctx Context, config any) ([]Stream, error) { return f(ctx, config.(C)) }
		c.operations = append(c.operations, "discover")
	})
}

func sameConfig[C any](c *component, option string) {
	if own := reflect.TypeFor[C](); own != c.config.kind {
		panic(fmt.Sprintf("dataflare: %s `%s`: %s takes %s, the configuration is %s", c.kind, c.name, option, own, c.config.kind))
	}
}

var registered []*component

// register adds a component to the plugin. What is wrong with its declaration ends the program: a test sees it.
func register[C any](kind, name, doc string, made *component, options []Option) *component {
	made.kind, made.name, made.doc, made.version = kind, name, doc, 1
	made.config = settingsOf(reflect.TypeFor[C]())
	if made.gives == nil {
		made.gives = map[string]*rows.Plan{}
	}
	if made.abilities == nil {
		made.abilities = map[string]any{}
	}
	if name == "" || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		panic(fmt.Sprintf("dataflare: `%s` is no name of a component: use letters, digits and -", name))
	}
	if doc == "" {
		panic(fmt.Sprintf("dataflare: %s `%s` says nothing of what it does", kind, name))
	}
	for _, known := range registered {
		if known.kind == kind && known.name == name {
			panic(fmt.Sprintf("dataflare: there are two %ss `%s`", kind, name))
		}
	}
	for _, each := range options {
		each.apply(made)
	}
	if made.takes != nil || made.by != "" || len(made.gives) > 0 || made.adds != nil {
		made.operations = append(made.operations, "plan")
	}
	registered = append(registered, made)
	return made
}

// plan is output (of a source: stream) → schema; nil where only reading tells.
func (c *component) plan(config any, inputs map[string]Schema) (map[string]Schema, error) {
	input, connected := inputs[""]
	if connected && c.takes != nil {
		if wrong := c.takes.Misfits(input); len(wrong) > 0 {
			return nil, &Problem{
				Code:    "step.input",
				Message: fmt.Sprintf("`%s` cannot read its input: %s", c.name, strings.Join(wrong, "; ")),
				Kind:    "config",
				Cause:   "the input has " + columnsOf(input),
			}
		}
	}
	if connected && c.by != "" {
		for _, column := range c.config.columns(config, c.by) {
			if _, ok := input.Column(column); !ok && !input.Open {
				return nil, &Problem{
					Code:    "keys.column",
					Message: fmt.Sprintf("there is no column `%s` to take the key from", column),
					Kind:    "config",
					Cause:   "the input has " + columnsOf(input),
				}
			}
		}
	}
	var told map[string]Schema
	if c.planned != nil {
		var err error
		if told, err = c.planned(config, inputs); err != nil {
			return nil, err
		}
	}
	switch c.kind {
	case "source":
		for name, plan := range c.gives {
			if _, known := told[name]; !known {
				told = with(told, name, plan.Schema())
			}
		}
		return told, nil
	case "processor":
		return c.outputSchemas(told, input), nil
	}
	return map[string]Schema{}, nil
}

func (c *component) outputSchemas(told map[string]Schema, input Schema) map[string]Schema {
	found := map[string]Schema{}
	for _, name := range append([]string{""}, c.outputs...) {
		schema, known := told[name]
		if !known {
			schema = input
			if c.adds != nil {
				schema = input.With(c.adds.Output(input).Columns...)
			}
			if plan := c.gives[name]; plan != nil {
				schema = plan.Output(schema)
			}
		}
		if name == "" {
			name = mainOutput
		}
		found[name] = schema
	}
	return found
}

const mainOutput = "out"

func with(schemas map[string]Schema, name string, schema Schema) map[string]Schema {
	if schemas == nil {
		schemas = map[string]Schema{}
	}
	schemas[name] = schema
	return schemas
}

func columnsOf(schema Schema) string {
	if len(schema.Columns) == 0 {
		return "no columns"
	}
	return "`" + strings.Join(schema.Names(), "`, `") + "`"
}

// componentWords is a component in the answer to `describe`.
type componentWords struct {
	Kind       string          `json:"kind"`
	Name       string          `json:"name"`
	Summary    string          `json:"summary"`
	Doc        string          `json:"doc"`
	Aliases    []string        `json:"aliases"`
	Deprecated *string         `json:"deprecated"`
	Version    int             `json:"version"`
	Lanes      *int            `json:"lanes"`
	Config     json.RawMessage `json:"config"`
	Abilities  map[string]any  `json:"abilities"`
	Operations []string        `json:"operations"`
	Input      json.RawMessage `json:"input,omitempty"`
	States     []string        `json:"states,omitempty"`
}

func (c *component) describe() componentWords {
	summary, _, _ := strings.Cut(c.doc, "\n")
	told := componentWords{
		Kind: c.kind, Name: c.name, Summary: summary, Doc: c.doc, Aliases: orEmpty(c.aliases), Version: c.version,
		Lanes: c.lanes, Config: c.config.schema(c.name, summary), Abilities: c.abilities,
		Operations: slices.Compact(slices.Sorted(slices.Values(c.operations))), States: c.states,
	}
	if c.deprecated != "" {
		told.Deprecated = &c.deprecated
	}
	if c.input != nil {
		told.Input = c.input.schema(c.name, summary)
	}
	return told
}

func orEmpty(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

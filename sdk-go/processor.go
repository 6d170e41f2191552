package dataflare

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"dataflare.dev/sdk-go/internal/rows"
)

// Map registers a processor that makes one row of one. ErrSkip drops a row, Reject refuses it. In and Out are structs
// whose fields are columns, or Row; an embedded Row keeps the columns that the struct does not name.
func Map[C, In, Out any](name, doc string, f func(Context, C, In) (Out, error), options ...Option) {
	rowWise(name, doc, "filter", func(ctx Context, config C, in In, out []Out) ([]Out, error) {
		made, err := f(ctx, config, in)
		if err != nil {
			return out, err
		}
		return append(out, made), nil
	}, options)
}

// Explode registers a processor that makes any number of rows of one.
func Explode[C, In, Out any](name, doc string, f func(Context, C, In) ([]Out, error), options ...Option) {
	rowWise(name, doc, "any", func(ctx Context, config C, in In, out []Out) ([]Out, error) {
		made, err := f(ctx, config, in)
		if err != nil {
			return out, err
		}
		return append(out, made...), nil
	}, options)
}

func rowWise[C, In, Out any](name, doc, cardinality string, f func(Context, C, In, []Out) ([]Out, error), options []Option) {
	made := processorOf[In, Out]()
	made.abilities["cardinality"] = cardinality
	made.open = func(ctx *surroundings, config any) (driver, error) {
		typed := config.(C)
		return &processor{held: held{ctx: ctx}, process: func(batch Batch) (Batch, error) {
			given, bad, err := readRows[In](batch)
			if err != nil {
				return Batch{}, err
			}
			out := make([]Out, 0, len(given))
			for i := range given {
				if len(bad) > 0 && bad[0].Row == i {
					batch.Reject(i, "row.null", "`%s` is null", bad[0].Column)
					bad = bad[1:]
					continue
				}
				if out, err = f(ctx, typed, given[i], out); err != nil {
					if err = refused(batch, i, err); err != nil {
						return Batch{}, fmt.Errorf("row %d: %w", i, err)
					}
				}
			}
			return Rows(out...), nil
		}}, nil
	}
	register[C]("processor", name, doc, made, options)
}

// refused takes an error of a row as its fate, if that is what it means.
func refused(batch Batch, row int, err error) error {
	if errors.Is(err, ErrSkip) {
		return nil
	}
	if why, ok := errors.AsType[*Problem](err); ok && why.Kind == "reject" {
		batch.Reject(row, why.Code, "%s", why.Message)
		return nil
	}
	return err
}

func processorOf[In, Out any]() *component {
	made := &component{abilities: map[string]any{"each": "batch"}, operations: []string{"process"}}
	made.takes = planFor[In]()
	made.gives = map[string]*rows.Plan{"": planFor[Out]()}
	return made
}

// Processor registers a processor of whole batches, without anything between them. Outs gives several outputs.
func Processor[C any](name, doc string, f func(Context, C, Batch) (Batch, error), options ...Option) {
	made := &component{abilities: map[string]any{"each": "batch", "cardinality": "any"}, operations: []string{"process"}}
	made.open = func(ctx *surroundings, config any) (driver, error) {
		typed := config.(C)
		return &processor{held: held{ctx: ctx}, process: func(batch Batch) (Batch, error) { return f(ctx, typed, batch) }}, nil
	}
	register[C]("processor", name, doc, made, options)
}

// Operating is an open processor of batches; what it keeps between them it gives in a Snapshot, or keeps in a State.
type Operating interface {
	Process(ctx Context, batch Batch) (Batch, error)
}

// Inputs is an Operating with several inputs: it is told which one a batch came from.
type Inputs interface {
	ProcessInput(ctx Context, input string, batch Batch) (Batch, error)
}

// Watermarker is told when the watermark moves.
type Watermarker interface {
	Watermark(ctx Context, at time.Time) (Batch, error)
}

// Timer is called for keys whose time has come; see SetTimer.
type Timer interface {
	Timer(ctx Context, keys Batch, at time.Time) (Batch, error)
}

// Finisher is told that its input has ended.
type Finisher interface {
	Finish(ctx Context) (Batch, error)
}

// Snapshotter has a state of its own, which goes on elsewhere after a restart.
type Snapshotter interface {
	Snapshot() ([]byte, error)
	Restore(data []byte, version int) error
}

// Operator registers a processor with a value that lives from open to close.
func Operator[C any, O Operating](name, doc string, open func(Context, C) (O, error), options ...Option) {
	made := &component{abilities: map[string]any{"each": "batch", "cardinality": "any"}, operations: []string{"process"}}
	made.open = func(ctx *surroundings, config any) (driver, error) {
		operator, err := open(ctx, config.(C))
		if err != nil {
			return nil, err
		}
		return &processor{
			held:    held{ctx: ctx, of: operator},
			process: func(batch Batch) (Batch, error) { return operator.Process(ctx, batch) },
		}, nil
	}
	made.operations = append(made.operations, implemented(reflect.TypeFor[O](), map[string]reflect.Type{
		"timer":     reflect.TypeFor[Timer](),
		"watermark": reflect.TypeFor[Watermarker](),
		"finish":    reflect.TypeFor[Finisher](),
		"snapshot":  reflect.TypeFor[Snapshotter](),
		"restore":   reflect.TypeFor[Snapshotter](),
	})...)
	register[C]("processor", name, doc, made, options)
}

// Outputs names the outputs of a processor beside the main one.
func Outputs(names ...string) Option {
	return option(func(c *component) {
		c.outputs = names
		c.abilities["outputs"] = names
	})
}

// InputNames names the inputs of a processor beside the main one.
func InputNames(names ...string) Option { return ability("inputs", names) }

// By names the field of the configuration that holds the key columns: rows of one key meet in one lane.
func By(field string) Option {
	return option(func(c *component) {
		if !c.config.has(field) {
			panic(fmt.Sprintf("dataflare: %s `%s` has no setting `%s` that names its key columns", c.kind, c.name, field))
		}
		c.by = field
		c.abilities["by"] = field
	})
}

// Cardinality says how many rows one becomes: "one", "filter" or "any".
func Cardinality(how string) Option { return ability("cardinality", how) }

// processor drives a processor.
type processor struct {
	held
	process func(Batch) (Batch, error)
}

func (p *processor) run(input string, batch Batch) (Batch, error) {
	if several, ok := p.of.(Inputs); ok {
		return several.ProcessInput(p.ctx, input, batch)
	}
	return p.process(batch)
}

package dataflare

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
)

// Ability is how a sink writes an epoch.
type Ability string

// The abilities of sinks.
const (
	Transactional Ability = "transactional" // one transaction of the target publishes an epoch
	Staged        Ability = "staged"        // written aside, published by Commit
	Idempotent    Ability = "idempotent"    // a row that is written again replaces itself, by its key
	Appending     Ability = "append"        // written at once
)

// Writer is an open sink. Begin, Write… and Prepare make an epoch durable, but not seen; Commit publishes it. Commit
// may come again, and to another instance: it knows only what the tokens say.
type Writer[T any] interface {
	Begin(ctx Context, epoch int64) error
	Write(ctx Context, batch Batch) error
	Prepare(ctx Context, epoch int64, last bool) (T, error)
	Commit(ctx Context, epoch int64, tokens []T) error
	Abort(ctx Context, epoch int64, tokens []T) error
}

// Recoverer is a Writer whose target knows the epoch that it holds; ok is false while it holds none.
type Recoverer interface {
	Recover(ctx Context) (epoch int64, ok bool, err error)
}

// Readbacker is a Writer that gives the rows in the target, for tests and audits.
type Readbacker interface {
	Readback(ctx Context, stream string) iter.Seq2[Batch, error]
}

// Fencing is how an older owner is kept out of the target: "target", "names", "lock" or "none".
func Fencing(how string) Option { return ability("fencing", how) }

// CommitsByLane says that the lanes of a sink need not commit together.
func CommitsByLane() Option { return ability("commits", "lane") }

// Sink registers a sink. open gives its Writer; return the type itself, not an interface. A Writer that is an
// io.Closer is closed.
func Sink[C, T any, W Writer[T]](name, doc string, can Ability, open func(Context, C) (W, error), options ...Option) {
	made := &component{abilities: map[string]any{"ability": string(can), "each": "batch"}}
	made.open = func(ctx *surroundings, config any) (driver, error) {
		writer, err := open(ctx, config.(C))
		if err != nil {
			return nil, err
		}
		return &sink[T, W]{held: held{ctx: ctx, of: writer}, writer: writer}, nil
	}
	made.operations = append(made.operations, "begin", "write", "prepare", "commit", "abort")
	made.operations = append(made.operations, implemented(reflect.TypeFor[W](), map[string]reflect.Type{
		"recover":  reflect.TypeFor[Recoverer](),
		"readback": reflect.TypeFor[Readbacker](),
		"snapshot": reflect.TypeFor[Snapshotter](),
		"restore":  reflect.TypeFor[Snapshotter](),
	})...)
	register[C]("sink", name, doc, made, options)
}

// Append registers a sink that writes at once: what is written again is there twice.
func Append[C any](name, doc string, f func(Context, C, Batch) error, options ...Option) {
	made := &component{abilities: map[string]any{"ability": string(Appending), "each": "batch"}, operations: []string{"write"}}
	made.open = func(ctx *surroundings, config any) (driver, error) {
		typed := config.(C)
		return &appender{held: held{ctx: ctx}, f: func(batch Batch) error { return f(ctx, typed, batch) }}, nil
	}
	register[C]("sink", name, doc, made, options)
}

// writing is what drives a sink.
type writing interface {
	driver
	begin(epoch int64) error
	write(batch Batch) error
	prepare(epoch int64, last bool) (any, error)
	commit(epoch int64, tokens []json.RawMessage) error
	abort(epoch int64, tokens []json.RawMessage) error
}

type appender struct {
	held
	f func(Batch) error
}

func (a *appender) begin(epoch int64) error               { a.ctx.words.Epoch = epoch; return nil }
func (a *appender) write(batch Batch) error               { return a.f(batch) }
func (a *appender) prepare(int64, bool) (any, error)      { return nil, nil }
func (a *appender) commit(int64, []json.RawMessage) error { return nil }
func (a *appender) abort(int64, []json.RawMessage) error  { return nil }

type sink[T any, W Writer[T]] struct {
	held
	writer W
}

func (s *sink[T, W]) begin(epoch int64) error {
	s.ctx.words.Epoch = epoch
	return s.writer.Begin(s.ctx, epoch)
}

func (s *sink[T, W]) write(batch Batch) error { return s.writer.Write(s.ctx, batch) }

const tokenLimit = 64 << 10

func (s *sink[T, W]) prepare(epoch int64, last bool) (any, error) {
	made, err := s.writer.Prepare(s.ctx, epoch, last)
	if err != nil {
		return nil, err
	}
	token, err := json.Marshal(made)
	if err != nil {
		return nil, problem("config", "token.json", "this token is not JSON: %v", err)
	}
	if len(token) > tokenLimit {
		return nil, &Problem{
			Code: "sink.token_too_large", Message: fmt.Sprintf("the token for epoch %d has %d bytes", epoch, len(token)), Kind: "fatal",
			Cause: fmt.Sprintf("allowed are %d", tokenLimit), Fix: "write the details aside and name them in the token",
		}
	}
	return json.RawMessage(token), nil
}

func (s *sink[T, W]) commit(epoch int64, tokens []json.RawMessage) error {
	live, err := tokensOf[T](tokens)
	if err != nil {
		return err
	}
	return s.writer.Commit(s.ctx, epoch, live)
}

func (s *sink[T, W]) abort(epoch int64, tokens []json.RawMessage) error {
	live, err := tokensOf[T](tokens)
	if err != nil {
		return err
	}
	return s.writer.Abort(s.ctx, epoch, live)
}

// tokensOf leaves out the tokens of lanes that have nothing to commit.
func tokensOf[T any](tokens []json.RawMessage) ([]T, error) {
	live := make([]T, 0, len(tokens))
	for _, token := range tokens {
		if string(token) == "null" {
			continue
		}
		var one T
		if err := json.Unmarshal(token, &one); err != nil {
			return nil, problem("config", "token.type", "this token is not a `%s`: %.200s", reflect.TypeFor[T](), token)
		}
		live = append(live, one)
	}
	return live, nil
}

package dataflare

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
)

// Split is a part of a source that is read by itself; order holds inside of one. ID names the thing that is read.
type Split struct {
	ID    string
	Data  any      // what Next needs to know of it; comes back as json.RawMessage, see Split.Read
	Start any      // the position to begin at; committed before the first read
	After []string // the splits that have to be finished before
	Size  *int64   // how much there is to read, if it is known
}

// Read reads the split's data into a value.
func (s Split) Read(into any) error {
	raw, err := json.Marshal(s.Data)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// Reader is an open source. Next gives a batch and the position after it, from after on; nil: from the start. At the
// end of the split: io.EOF. No rows now: Idle. A position that is null in JSON is no place to resume from.
//
// Next is called with the position that it returned last; where reading goes on elsewhere, Seek is called before, if
// the Reader is a Seeker.
type Reader[P any] interface {
	Next(ctx Context, split Split, after *P) (Batch, P, error)
}

// Seeker is a Reader that is told where reading of a split begins, or goes on elsewhere.
type Seeker[P any] interface {
	Seek(ctx Context, split Split, after *P) error
}

// Known is what is known of a source's splits: the position that Splits gave last, and those that are finished.
type Known struct {
	Position json.RawMessage
	Finished []string
}

// Splitter is a Reader with several splits. Splits gives those that are not known yet; with a position, it is called
// again with that one, until io.EOF.
type Splitter interface {
	Splits(ctx Context, known Known) ([]Split, json.RawMessage, error)
}

// Acknowledger is a Reader that is told what is committed.
type Acknowledger[P any] interface {
	Acknowledge(ctx Context, split Split, position P) error
}

// Divider is a Reader that can hand the rest of a split to others.
type Divider[P any] interface {
	Divide(ctx Context, split Split, at *P) ([]Split, error)
}

// Stopper is a Reader that is told when a split is read no further from here.
type Stopper interface {
	StopReading(ctx Context, split string) error
}

// Replay is how a source can be read again.
func Replay(how string) Option { return ability("replay", how) }

// Source registers a source. open gives its Reader; return the type itself, not an interface: its methods tell what
// the source can do. A Reader that is an io.Closer is closed.
func Source[C, P any, R Reader[P]](name, doc string, open func(Context, C) (R, error), options ...Option) {
	made := &component{abilities: map[string]any{"replay": "position"}}
	made.open = func(ctx *surroundings, config any) (driver, error) {
		reader, err := open(ctx, config.(C))
		if err != nil {
			return nil, err
		}
		return &source[P, R]{held: held{ctx: ctx, of: reader}, reader: reader, readings: map[string]*reading[P]{}}, nil
	}
	reader := reflect.TypeFor[R]()
	made.operations = append(made.operations, "read")
	made.operations = append(made.operations, implemented(reader, map[string]reflect.Type{
		"splits":      reflect.TypeFor[Splitter](),
		"acknowledge": reflect.TypeFor[Acknowledger[P]](),
		"divide":      reflect.TypeFor[Divider[P]](),
	})...)
	register[C]("source", name, doc, made, options)
}

// source drives a Reader.
type source[P any, R Reader[P]] struct {
	held
	reader   R
	readings map[string]*reading[P]
	round    json.RawMessage // the position of the last round of splits; nil: there is no further one
}

// reading is a split that is being read.
type reading[P any] struct {
	after *P
	ended bool
}

func (s *source[P, R]) splits(known Known, again bool) ([]Split, json.RawMessage, error) {
	splitter, ok := any(s.reader).(Splitter)
	if again && s.round == nil {
		return nil, nil, io.EOF
	}
	if !ok {
		return []Split{{ID: "all"}}, nil, nil
	}
	if again {
		known.Position = s.round
	}
	found, position, err := splitter.Splits(s.ctx, known)
	s.round = nil
	if err != nil {
		return nil, nil, err
	}
	if len(position) > 0 && string(position) != "null" && !bytes.Equal(position, known.Position) {
		s.round = position
	}
	return found, position, nil
}

func (s *source[P, R]) read(split Split, position json.RawMessage, anew bool) (step, error) {
	under := s.readings[split.ID]
	if under == nil || anew {
		after, err := decodePosition[P](position)
		if err != nil {
			return step{}, err
		}
		under = &reading[P]{after: after}
		if seeker, ok := any(s.reader).(Seeker[P]); ok {
			if err := seeker.Seek(s.ctx, split, after); err != nil {
				return step{}, err
			}
		}
		s.readings[split.ID] = under
	}
	if under.ended {
		delete(s.readings, split.ID)
		return step{end: true}, nil
	}
	batch, next, err := s.reader.Next(s.ctx, split, under.after)
	wait, isIdle := errors.AsType[*idle](err)
	switch {
	case errors.Is(err, io.EOF) && batch.Len() > 0:
		under.ended = true
	case errors.Is(err, io.EOF):
		delete(s.readings, split.ID)
		return step{end: true}, nil
	case isIdle && !wait.moved:
		return step{idle: wait}, nil
	case err != nil && !isIdle:
		delete(s.readings, split.ID)
		return step{}, err
	}
	made := step{batch: batch, idle: wait}
	if made.position, err = json.Marshal(next); err != nil {
		return step{}, problem("config", "position.json", "this position is not JSON: %v", err)
	}
	if string(made.position) == "null" {
		made.position = nil
	} else {
		under.after = &next
	}
	return made, nil
}

func (s *source[P, R]) stop(split string) error {
	delete(s.readings, split)
	if stopper, ok := any(s.reader).(Stopper); ok {
		return stopper.StopReading(s.ctx, split)
	}
	return nil
}

func (s *source[P, R]) acknowledge(split Split, position json.RawMessage) error {
	told, ok := any(s.reader).(Acknowledger[P])
	if !ok {
		return nil
	}
	at, err := decodePosition[P](position)
	if err != nil || at == nil {
		return err
	}
	return told.Acknowledge(s.ctx, split, *at)
}

func (s *source[P, R]) divide(split Split, position json.RawMessage) ([]Split, error) {
	divider, ok := any(s.reader).(Divider[P])
	if !ok {
		return nil, nil
	}
	at, err := decodePosition[P](position)
	if err != nil {
		return nil, err
	}
	return divider.Divide(s.ctx, split, at)
}

func decodePosition[P any](position json.RawMessage) (*P, error) {
	if len(position) == 0 || string(position) == "null" {
		return nil, nil
	}
	made := new(P)
	if err := json.Unmarshal(position, made); err != nil {
		return nil, problem("config", "position.type", "this position is not a `%s`: %.200s", reflect.TypeFor[P](), position)
	}
	return made, nil
}

// held is what all drivers have: the author's value, and its context.
type held struct {
	ctx *surroundings
	of  any
}

func (h held) context() *surroundings { return h.ctx }

func (h held) close() error {
	if closer, ok := h.of.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

func (h held) author() any { return h.of }

// implemented are the words of the interfaces that a type implements, in their order.
func implemented(kind reflect.Type, interfaces map[string]reflect.Type) []string {
	var found []string
	for _, word := range operationOrder {
		if wanted, ok := interfaces[word]; ok && kind.Implements(wanted) {
			found = append(found, word)
		}
	}
	return found
}

var operationOrder = []string{
	"splits", "divide", "acknowledge", "timer", "watermark", "finish", "recover", "readback", "snapshot", "restore",
}

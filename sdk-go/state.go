package dataflare

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"dataflare.dev/sdk-go/internal/rows"
)

// State is a value for each key, which the host keeps: what is put counts when the call returns without an error.
// It is an option of the processor that has it; By names the key columns.
type State[S any] struct {
	name string
	ttl  *time.Duration
}

// NewState declares a state: NewState[int]("seen").
func NewState[S any](name string) *State[S] { return &State[S]{name: name} }

// For lets values go a while after they were put.
func (s *State[S]) For(life time.Duration) *State[S] { return &State[S]{s.name, &life} }

func (s *State[S]) apply(c *component) { c.states = append(c.states, s.name) }

// Get is the value of the key of each row; nil: there is none.
func (s *State[S]) Get(ctx Context, batch Batch) ([]*S, error) {
	keys, err := ctx.surroundings().keys(batch)
	if err != nil {
		return nil, err
	}
	return s.get(ctx.surroundings(), keys)
}

// Put gives the key of each row a value; nil: forget. Where a key comes twice, the last one holds.
func (s *State[S]) Put(ctx Context, batch Batch, values []*S) error {
	keys, err := ctx.surroundings().keys(batch)
	if err != nil {
		return err
	}
	return s.put(ctx.surroundings(), keys, values)
}

// atOnce is how many keys one question may have: they and their values go into a header, which has at most 1 MiB.
const atOnce = 1024

func (s *State[S]) get(ctx *surroundings, keys [][]byte) ([]*S, error) {
	found := make([]*S, 0, len(keys))
	for part := range slices.Chunk(keys, atOnce) {
		var answer struct {
			Values []*S `json:"values"`
		}
		if _, err := ctx.ask("state.get", words{"name": s.name, "keys": part}, &answer); err != nil {
			return nil, err
		}
		if len(answer.Values) != len(part) {
			return nil, badFrame("the answer to `state.get` has %d values for %d keys", len(answer.Values), len(part))
		}
		found = append(found, answer.Values...)
	}
	return found, nil
}

func (s *State[S]) put(ctx *surroundings, keys [][]byte, values []*S) error {
	if len(values) != len(keys) {
		return fmt.Errorf("there are %d values for the keys of %d rows", len(values), len(keys))
	}
	var ttl any
	if s.ttl != nil {
		ttl = s.ttl.Seconds()
	}
	for start := 0; start < len(keys); start += atOnce {
		end := min(start+atOnce, len(keys))
		told := words{"name": s.name, "keys": keys[start:end], "values": values[start:end], "ttl": ttl}
		if _, err := ctx.ask("state.put", told, nil); err != nil {
			return err
		}
	}
	return nil
}

// All is every value that this lane holds, by canonical key bytes.
func (s *State[S]) All(ctx Context) (map[string]S, error) {
	found := map[string]S{}
	err := s.Scan(ctx, func(key string, value S) error {
		found[key] = value
		return nil
	})
	return found, err
}

// Scan calls f with every value that this lane holds and its canonical key bytes. Only some of them are in memory at
// once. What the running call has put is not among them.
func (s *State[S]) Scan(ctx Context, f func(key string, value S) error) error {
	for after := ""; ; {
		asked := words{"name": s.name, "limit": atOnce}
		if after != "" {
			asked["after"] = after
		}
		var page struct {
			Keys   []string          `json:"keys"`
			Values []json.RawMessage `json:"values"`
			Next   string            `json:"next"`
		}
		if _, err := ctx.surroundings().ask("state.items", asked, &page); err != nil {
			return err
		}
		for i, text := range page.Keys {
			key, err := base64.StdEncoding.DecodeString(text)
			if err != nil || i >= len(page.Values) {
				return badFrame("the answer to `state.items`")
			}
			var value S
			if err := json.Unmarshal(page.Values[i], &value); err != nil {
				return err
			}
			if err := f(string(key), value); err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// keys are the canonical bytes of each row's key.
func (s *surroundings) keys(batch Batch) ([][]byte, error) {
	if len(s.keyBy) == 0 {
		return nil, problem("config", "step.by", "there are no key columns: register it with By, the field that names them")
	}
	if batch.batch == nil {
		return nil, nil
	}
	cells, err := batch.Cells()
	if err != nil {
		return nil, err
	}
	return rows.Keys(cells, s.keyBy)
}

// Keyed registers a processor that is called once for each key of a batch, with the rows of that key in order, and a
// state that it changes in place; its zero value is the first. by names the field of the configuration that holds the
// key columns.
func Keyed[C, S, In, Out any](name, doc, by string, f func(Context, C, *S, []In) ([]Out, error), options ...Option) {
	made := processorOf[In, Out]()
	made.abilities["cardinality"] = "any"
	state := NewState[json.RawMessage]("state")
	made.open = func(ctx *surroundings, config any) (driver, error) {
		typed := config.(C)
		return &processor{held: held{ctx: ctx}, process: func(batch Batch) (Batch, error) {
			return keyed(ctx, state, batch, func(now *S, rows []In) ([]Out, error) { return f(ctx, typed, now, rows) })
		}}, nil
	}
	register[C]("processor", name, doc, made, append([]Option{By(by), state}, options...))
}

func keyed[S, In, Out any](ctx *surroundings, state *State[json.RawMessage], batch Batch, f func(*S, []In) ([]Out, error)) (Batch, error) {
	keys, err := ctx.keys(batch)
	if err != nil {
		return Batch{}, err
	}
	given, bad, err := readRows[In](batch)
	if err != nil || len(keys) == 0 {
		return Rows[Out](), err
	}
	var order [][]byte
	members := map[string][]int{}
	for i, key := range keys {
		if len(bad) > 0 && bad[0].Row == i {
			batch.Reject(i, "row.null", "`%s` is null", bad[0].Column)
			bad = bad[1:]
			continue
		}
		if _, known := members[string(key)]; !known {
			order = append(order, key)
		}
		members[string(key)] = append(members[string(key)], i)
	}
	before, err := state.get(ctx, order)
	if err != nil {
		return Batch{}, err
	}
	after := make([]*json.RawMessage, len(order))
	var out []Out
	for k, key := range order {
		numbers := members[string(key)]
		part := make([]In, len(numbers))
		for i, row := range numbers {
			part[i] = given[row]
		}
		now := new(S)
		if before[k] != nil {
			if err := json.Unmarshal(*before[k], now); err != nil {
				return Batch{}, problem("fatal", "state.type", "a state is not a `%s`: %v", reflect.TypeFor[S](), err)
			}
		}
		made, err := f(now, part)
		if err != nil {
			for _, row := range numbers {
				if again := refused(batch, row, err); again != nil {
					return Batch{}, fmt.Errorf("the key of row %d: %w", row, again)
				}
			}
			after[k] = before[k] // what a refused call did to its state never happened
			continue
		}
		kept, err := json.Marshal(now)
		if err != nil {
			return Batch{}, err
		}
		after[k] = (*json.RawMessage)(&kept)
		out = append(out, made...)
	}
	return Rows(out...), state.put(ctx, order, after)
}

package dftest

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/internal/frame"
	"dataflare.dev/sdk-go/internal/ipc"
	"dataflare.dev/sdk-go/internal/rows"
)

// Component is an open component.
type Component struct {
	t      testing.TB
	guest  *dataflare.Guest
	name   string
	config any
	opened bool
}

// Open makes a component ready: "KIND:NAME", its configuration as JSON can hold it (nil: all defaults), and the host
// that answers it (nil: one that grants nothing).
func Open(t testing.TB, name string, config any, host *Host) *Component {
	t.Helper()
	if config == nil {
		config = map[string]any{}
	}
	return &Component{t: t, guest: guestOf(t, host), name: name, config: config}
}

// Refusal is what opening it with this configuration is refused with; nil: it is not.
func Refusal(t testing.TB, name string, config any) *dataflare.Problem {
	t.Helper()
	made := Open(t, name, config, nil)
	_, _, failed := made.ask(made.opening(dataflare.Schema{}))
	return failed
}

type header struct {
	Error   *dataflare.Problem `json:"error"`
	Outputs []struct {
		Name string `json:"name"`
		Part int    `json:"part"`
	} `json:"outputs"`
	Rejects []struct {
		Code string `json:"code"`
		Part int    `json:"part"`
	} `json:"rejects"`
	Position json.RawMessage   `json:"position"`
	Idle     bool              `json:"idle"`
	End      bool              `json:"end"`
	Token    json.RawMessage   `json:"token"`
	Output   json.RawMessage   `json:"output"`
	More     bool              `json:"more"`
	Splits   []json.RawMessage `json:"splits"`
}

func (c *Component) ask(words map[string]any, parts ...[]byte) (header, [][]byte, *dataflare.Problem) {
	c.t.Helper()
	packed, err := frame.Append(nil, words, parts)
	if err != nil {
		c.t.Fatal(err)
	}
	told, got, err := frame.Unpack(append([]byte{}, c.guest.Answer(packed)...))
	if err != nil {
		c.t.Fatal(err)
	}
	var answer header
	if err := json.Unmarshal(told, &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer, got, answer.Error
}

// must asks, and ends the test where that is refused.
func (c *Component) must(words map[string]any, parts ...[]byte) (header, [][]byte) {
	c.t.Helper()
	answer, given, failed := c.ask(words, parts...)
	if failed != nil {
		c.t.Fatalf("%s: %s: %v\n%s", c.name, words["op"], failed, failed.Cause)
	}
	return answer, given
}

func (c *Component) opening(input dataflare.Schema) map[string]any {
	words := map[string]any{"op": "open", "instance": 1, "component": c.name, "config": c.config, "encoding": "json"}
	if len(input.Columns) > 0 {
		words["schemas"] = map[string]any{"": map[string]any{"arrow": ipc.AppendSchema(nil, input)}}
	}
	return words
}

func (c *Component) open(input dataflare.Schema) {
	c.t.Helper()
	if !c.opened {
		c.must(c.opening(input))
		c.opened = true
	}
}

// Given is what a call gave.
type Given[Out any] struct {
	Rows     []Out            // of the main output
	Others   map[string][]Out // of the others
	Rejected map[string][]int // code → the numbers of rows that were refused
	Error    *dataflare.Problem
}

// Process calls a processor with a batch of rows, structs that have all columns of its input.
func Process[Out, In any](c *Component, given ...In) Given[Out] {
	c.t.Helper()
	c.open(dataflare.SchemaOf[In]())
	answer, parts, failed := c.ask(map[string]any{"op": "process", "instance": 1, "part": 0}, part(c, given))
	return gave[Out](c, answer, parts, failed)
}

// Finish tells a processor that its input has ended.
func Finish[Out any](c *Component) Given[Out] {
	c.t.Helper()
	answer, parts, failed := c.ask(map[string]any{"op": "finish", "instance": 1})
	return gave[Out](c, answer, parts, failed)
}

// Watermark tells a processor that all rows up to a time have come.
func Watermark[Out any](c *Component, at time.Time) Given[Out] {
	c.t.Helper()
	answer, parts, failed := c.ask(map[string]any{"op": "watermark", "instance": 1, "time": at})
	return gave[Out](c, answer, parts, failed)
}

func part[In any](c *Component, given []In) []byte {
	c.t.Helper()
	plan, err := rows.PlanOf(reflect.TypeFor[In]())
	if err != nil {
		c.t.Fatal(err)
	}
	i := -1
	content, err := plan.AppendJSON(nil, plan.Schema(), func() unsafe.Pointer {
		if i++; i == len(given) {
			return nil
		}
		return unsafe.Pointer(&given[i])
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return content
}

func rowsIn[Out any](c *Component, part []byte) []Out {
	c.t.Helper()
	cells, err := rows.ParseJSON(string(part), dataflare.Schema{Open: true})
	if err != nil {
		c.t.Fatal(err)
	}
	found, err := dataflare.RowsOf[Out](dataflare.BatchOf(cells))
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

func gave[Out any](c *Component, answer header, parts [][]byte, failed *dataflare.Problem) Given[Out] {
	c.t.Helper()
	made := Given[Out]{Error: failed, Others: map[string][]Out{}, Rejected: map[string][]int{}}
	for _, output := range answer.Outputs {
		found := rowsIn[Out](c, parts[output.Part])
		if output.Name == "" || output.Name == "out" {
			made.Rows = append(made.Rows, found...)
		} else {
			made.Others[output.Name] = append(made.Others[output.Name], found...)
		}
	}
	for _, reject := range answer.Rejects {
		for numbers := parts[reject.Part]; len(numbers) >= 4; numbers = numbers[4:] {
			made.Rejected[reject.Code] = append(made.Rejected[reject.Code], int(binary.LittleEndian.Uint32(numbers)))
		}
	}
	return made
}

// Step is what one read of a source gave.
type Step[Out any] struct {
	Rows     []Out
	Stream   string
	Position json.RawMessage
	Idle     bool
}

// Read reads a source from a position on (nil: from its start), all its splits one after the other, to the end or
// until most steps are done, or it is idle.
func Read[Out any](c *Component, position json.RawMessage, most int) []Step[Out] {
	c.t.Helper()
	c.open(dataflare.Schema{})
	splits, _ := c.must(map[string]any{"op": "splits", "instance": 1})
	var steps []Step[Out]
	for _, split := range splits.Splits {
		words := map[string]any{"op": "read", "instance": 1, "split": split, "anew": true}
		if position != nil {
			words["position"] = position
		}
		for len(steps) < most {
			answer, parts := c.must(words)
			delete(words, "anew")
			if answer.End {
				break
			}
			step := Step[Out]{Position: answer.Position, Idle: answer.Idle}
			for _, output := range answer.Outputs {
				step.Stream = output.Name
				step.Rows = rowsIn[Out](c, parts[output.Part])
			}
			steps = append(steps, step)
			if step.Idle && step.Rows == nil && step.Position == nil {
				break
			}
		}
	}
	return steps
}

// Write gives rows to a sink, within the epoch that Begin began. It gives the rows that were refused, by code.
func Write[In any](c *Component, given ...In) map[string][]int {
	c.t.Helper()
	c.open(dataflare.SchemaOf[In]())
	answer, parts := c.must(map[string]any{"op": "write", "instance": 1, "part": 0}, part(c, given))
	return gave[dataflare.Row](c, answer, parts, nil).Rejected
}

// Begin begins an epoch of a sink whose rows are In.
func Begin[In any](c *Component, epoch int64) {
	c.t.Helper()
	c.open(dataflare.SchemaOf[In]())
	c.must(map[string]any{"op": "begin", "instance": 1, "epoch": epoch})
}

// Prepare prepares an epoch of a sink, and gives its token.
func (c *Component) Prepare(epoch int64) json.RawMessage {
	c.t.Helper()
	answer, _ := c.must(map[string]any{"op": "prepare", "instance": 1, "epoch": epoch})
	return answer.Token
}

// Commit commits an epoch of a sink, with the tokens of its lanes.
func (c *Component) Commit(epoch int64, tokens ...json.RawMessage) {
	c.t.Helper()
	c.must(map[string]any{"op": "commit", "instance": 1, "epoch": epoch, "tokens": tokens})
}

// Abort takes back an epoch of a sink.
func (c *Component) Abort(epoch int64, tokens ...json.RawMessage) {
	c.t.Helper()
	c.must(map[string]any{"op": "abort", "instance": 1, "epoch": epoch, "tokens": tokens})
}

// Call calls a tool.
func Call[Out any](c *Component, input any) (Out, *dataflare.Problem) {
	c.t.Helper()
	var out Out
	answer, _, failed := c.ask(map[string]any{"op": "call", "component": c.name, "config": c.config, "input": input})
	for failed == nil && answer.More {
		if answer.Output != nil {
			if err := json.Unmarshal(answer.Output, &out); err != nil {
				c.t.Fatal(err)
			}
		}
		answer, _, failed = c.ask(map[string]any{"op": "continue"})
	}
	return out, failed
}

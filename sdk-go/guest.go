package dataflare

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"dataflare.dev/sdk-go/internal/frame"
)

// Protocol is the number of the guest protocol that is spoken here.
const Protocol = 1

// minors are the versions of the plugin contract that are spoken here, the newest last.
var minors = []string{"1.0", "1.1"}

const sdkName = "dataflare-sdk go"

// Guest answers the frames of a host with the components of a plugin. One call at a time, except Cancel.
type Guest struct {
	components []*component
	instances  map[int64]*instance
	rest       func() (answer, error) // the answers after the last one; io.EOF: no more
	ask        func(question []byte) ([]byte, error)
	asking     sync.Mutex
	ctx        context.Context
	cancel     context.CancelFunc
	out        []byte
}

// driver is an open component.
type driver interface {
	context() *surroundings
	author() any
	close() error
}

// instance is one open component of a guest.
type instance struct {
	*component
	driver
	config   any
	encoding string
	inputs   map[string]Schema
	outputs  map[string]Schema
}

// answer is a header and its parts.
type answer struct {
	header any
	parts  [][]byte
}

var nothing = answer{header: struct{}{}}

// NewGuest is a guest of all components that are registered. ask asks the host; nil: there is none, and components
// have no state, secrets or log.
func NewGuest(ask func(question []byte) ([]byte, error)) *Guest {
	guest := &Guest{components: registered, instances: map[int64]*instance{}, ask: ask}
	guest.ctx, guest.cancel = context.WithCancel(context.Background())
	return guest
}

// Cancel tells the components that the flow stops. From any goroutine.
func (g *Guest) Cancel() { g.cancel() }

// Context is one outside of any component: for tests that call functions directly.
func (g *Guest) Context() Context { return g.surroundings(&request{}, -1) }

// Close closes all that is open.
func (g *Guest) Close() {
	for number, open := range g.instances {
		delete(g.instances, number)
		_ = protected(func() error { return open.close() })
	}
}

// Answer is the answer to a frame; its memory is used again by the next one. It never fails: what goes wrong is an
// answer with `error`.
func (g *Guest) Answer(given []byte) []byte {
	header, parts, err := frame.Unpack(given)
	return g.pack(g.answer(header, parts, err))
}

func (g *Guest) answer(header []byte, parts [][]byte, err error) answer {
	if err != nil {
		return answer{header: failure(frameProblem(err))}
	}
	var told answer
	err = protected(func() (err error) {
		told, err = g.handle(header, parts)
		return err
	})
	if err != nil {
		return answer{header: failure(err)}
	}
	return told
}

func (g *Guest) pack(told answer) []byte {
	packed, err := frame.Append(g.out[:0], told.header, told.parts)
	if err != nil {
		if broken, ok := errors.AsType[*frame.Broken](err); ok {
			err = badFrame("%s", broken.Cause)
		}
		packed, _ = frame.Append(g.out[:0], failure(err), nil)
	}
	g.out = packed
	return packed
}

func frameProblem(err error) error {
	if broken, ok := errors.AsType[*frame.Broken](err); ok {
		return badFrame("%s", broken.Cause)
	}
	return badFrame("%v", err)
}

// protected makes errors of panics.
func protected(f func() error) (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = panicked(recovered)
		}
	}()
	return f()
}

// question asks the host.
func (g *Guest) question(told words, parts [][]byte) ([]byte, [][]byte, error) {
	if g.ask == nil {
		return nil, nil, problem("fatal", "guest.no_host", "nobody answers `%v` here", told["op"])
	}
	packed, err := frame.Append(nil, told, parts)
	if err != nil {
		return nil, nil, err
	}
	g.asking.Lock()
	defer g.asking.Unlock()
	given, err := g.ask(packed)
	if err != nil {
		return nil, nil, err
	}
	header, got, err := frame.Unpack(given)
	if err != nil {
		return nil, nil, frameProblem(err)
	}
	return header, got, nil
}

// request is the header of a request.
type request struct {
	Op        string                 `json:"op"`
	Instance  *int64                 `json:"instance"`
	Component string                 `json:"component"`
	Config    json.RawMessage        `json:"config"`
	Context   contextWords           `json:"context"`
	Encoding  string                 `json:"encoding"`
	Schemas   map[string]schemaWords `json:"schemas"`
	Input     json.RawMessage        `json:"input"`
	Part      int                    `json:"part"`
	Stream    string                 `json:"stream"`
	Split     json.RawMessage        `json:"split"`
	Position  json.RawMessage        `json:"position"`
	Finished  []string               `json:"finished"`
	Again     bool                   `json:"again"`
	Anew      bool                   `json:"anew"`
	Demand    demandWords            `json:"demand"`
	Columns   []string               `json:"columns"`
	Resume    resumeWords            `json:"resume"`
	Version   *int                   `json:"version"`
	Old       json.RawMessage        `json:"old"`
	Name      string                 `json:"name"`
	Time      *time.Time             `json:"time"`
	Epoch     *int64                 `json:"epoch"`
	Clock     *time.Time             `json:"clock"`
	Seed      json.RawMessage        `json:"seed"`
	Last      bool                   `json:"last"`
	Tokens    []json.RawMessage      `json:"tokens"`
	Made      json.RawMessage        `json:"made"`
	Before    json.RawMessage        `json:"before"`

	parts [][]byte
}

type resumeWords struct {
	Epoch    *int64                     `json:"epoch"`
	Tokens   map[string]json.RawMessage `json:"tokens"`
	Made     json.RawMessage            `json:"made"`
	Position json.RawMessage            `json:"position"`
}

type demandWords struct {
	Rows    int     `json:"rows"`
	Bytes   int     `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func (r *request) demand() Demand {
	within := time.Duration(r.Demand.Seconds * float64(time.Second))
	return Demand{r.Demand.Rows, r.Demand.Bytes, within, r.Columns}
}

func (r *request) part() ([]byte, error) {
	if r.Part < 0 || r.Part >= len(r.parts) {
		return nil, badFrame("it has no part %d", r.Part)
	}
	return r.parts[r.Part], nil
}

func missing(word string) error { return badFrame("its header has no `%s`", word) }

// handle answers one request.
func (g *Guest) handle(header []byte, parts [][]byte) (answer, error) {
	given := request{parts: parts}
	if err := json.Unmarshal(header, &given); err != nil {
		return answer{}, badFrame("its header: %v", err)
	}
	if given.Op != "continue" {
		g.rest = nil
	}
	switch given.Op {
	case "describe":
		return g.describe(), nil
	case "open":
		return g.open(&given)
	case "check":
		return g.check(&given)
	case "discover":
		return g.discover(&given)
	case "plan":
		return g.plan(&given)
	case "call":
		return g.call(&given)
	case "continue":
		return g.goOn()
	case "close":
		open, err := g.instance(&given)
		if err != nil {
			return answer{}, err
		}
		delete(g.instances, *given.Instance)
		return nothing, open.close()
	}
	if _, ok := beforehand[given.Op]; ok {
		return g.before(&given)
	}
	operation, ok := operations[given.Op]
	if !ok {
		return answer{}, problem("config", "guest.unknown_operation", "there is no operation `%s`", given.Op)
	}
	open, err := g.instance(&given)
	if err != nil {
		return answer{}, err
	}
	return operation(g, open, &given)
}

func (g *Guest) instance(given *request) (*instance, error) {
	if given.Instance != nil {
		if open, ok := g.instances[*given.Instance]; ok {
			return open, nil
		}
		return nil, problem("config", "guest.instance", "there is no open instance `%d`", *given.Instance)
	}
	return nil, problem("config", "guest.instance", "it names no instance")
}

// goOn gives the next of several answers.
func (g *Guest) goOn() (answer, error) {
	if g.rest == nil {
		return answer{}, problem("config", "guest.nothing_more", "there is nothing to continue")
	}
	told, err := g.rest()
	if errors.Is(err, io.EOF) {
		g.rest = nil
		return nothing, nil
	}
	if err != nil {
		g.rest = nil
	}
	return told, err
}

// find is the component that a request names, and its configuration.
func (g *Guest) find(given *request) (*component, any, error) {
	for _, known := range g.components {
		if sameName(known, given.Component) {
			config, err := known.config.read(given.Config)
			return known, config, err
		}
	}
	return nil, nil, &Problem{
		Code: "guest.unknown_component", Message: "there is no `" + given.Component + "` here", Kind: "config",
		Cause: "there is " + g.names(),
	}
}

func (g *Guest) surroundings(given *request, number int64) *surroundings {
	return &surroundings{Context: g.ctx, words: given.Context, guest: g, instance: number}
}

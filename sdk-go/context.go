package dataflare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Context is what a component may ask of its surroundings. What its grant does not hold is refused with an error. Err
// tells whether the flow stops: what takes long asks it now and then.
type Context interface {
	context.Context

	// ID is a stable name of this step and lane, for slots and client ids.
	ID() string
	// Flow, Step and Lane are the names and the number of what runs here.
	Flow() string
	Step() string
	Lane() int
	// Epoch is the epoch that rows written now belong to; Fence its fencing token.
	Epoch() int64
	Fence() int64
	// Incarnation is the identity of the flow's state: a reset makes a new one.
	Incarnation() string
	// Now is the ingest time of the batch: the same for every call on the same batch.
	Now() time.Time
	// Random is seeded by the batch: the same batch, the same numbers.
	Random() *rand.Rand
	// Log writes under the step's name.
	Log() *slog.Logger
	// HTTP sends requests through the host, which checks each against the grant.
	HTTP() HTTP
	// Input is a host-owned input: UDP, TCP, tty, file.
	Input(name string) Input
	// Secret is the value of a secret that the grant names.
	Secret(name string) (string, error)
	// Count adds to a counter, Gauge sets a gauge, under the step's name.
	Count(name string, value float64)
	Gauge(name string, value float64)
	// Limit waits until it is this lane's turn: no more than rate (such as "10/s") over all lanes.
	Limit(name, rate string) error
	// RequestCheckpoint asks for an epoch soon.
	RequestCheckpoint() error
	// Progress tells how far a component is; total 0: it is not known.
	Progress(done, total float64, note string)
	// Timers asks to be called for keys at a time.
	Timers() Timers
	// Resume is where an instance goes on: of what open was told.
	Resume() Resume
	// Demand is what a source is asked for: of the running Next.
	Demand() Demand
	// Refuse gives what a source read and could not make a row of; it becomes a dead letter.
	Refuse(refused Refused)

	surroundings() *surroundings
}

// Resume is where an instance goes on.
type Resume struct {
	Epoch    *int64                     // the last decided epoch; nil: there is none
	Tokens   map[string]json.RawMessage // of a sink: those of lanes that are prepared and not committed
	Made     json.RawMessage            // what OnCreated gave
	Position json.RawMessage            // of a source: what Splits gave last
}

// Demand is how much a source is asked for at once. It is a wish: a batch may be smaller, and somewhat larger.
type Demand struct {
	Rows    int
	Bytes   int
	Within  time.Duration // give rows, or Idle, by then
	Columns []string      // the columns that are needed; nil: all
}

// Refused is what a source could not make a row of.
type Refused struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Place   string `json:"place,omitempty"`
	Raw     []byte `json:"raw"`
}

const rawLimit = 64 << 10

// HTTP sends requests through the host.
type HTTP interface {
	// Do sends one. A refusal is an error; a status such as 404 is none.
	Do(request Request) (*Response, error)
}

// Request is a request that the host sends.
type Request struct {
	Method  string // GET, if empty
	URL     string
	Headers map[string]string
	Body    []byte
	Timeout time.Duration // zero: the host's
}

// Response is what came back.
type Response struct {
	Status  int
	Headers map[string]string
	Body    []byte
}

// Input is a stream of bytes that the host owns.
type Input interface {
	// Receive gives what came, at most max bytes. None within wait: nothing. At the end: io.EOF.
	Receive(max int, wait time.Duration) ([]byte, error)
}

// contextWords is what `open` says of an instance's surroundings.
type contextWords struct {
	ID          string `json:"id"`
	Flow        string `json:"flow"`
	Step        string `json:"step"`
	Lane        int    `json:"lane"`
	Epoch       int64  `json:"epoch"`
	Fence       int64  `json:"fence"`
	Incarnation string `json:"incarnation"`
}

// surroundings is the Context of an instance in a guest.
type surroundings struct {
	context.Context
	words    contextWords
	guest    *Guest
	instance int64
	now      time.Time
	seed     string
	random   *rand.Rand
	log      *slog.Logger
	refused  []Refused
	report   func(any) // of a tool
	demand   Demand
	resume   Resume
	encoding string
	asked    time.Time
	inputs   Schema // the schema of the main input, where keys are taken from
	keyBy    []string
}

func (s *surroundings) surroundings() *surroundings { return s }
func (s *surroundings) ID() string                  { return s.words.ID }
func (s *surroundings) Flow() string                { return s.words.Flow }
func (s *surroundings) Step() string                { return s.words.Step }
func (s *surroundings) Lane() int                   { return s.words.Lane }
func (s *surroundings) Epoch() int64                { return s.words.Epoch }
func (s *surroundings) Fence() int64                { return s.words.Fence }
func (s *surroundings) Incarnation() string         { return s.words.Incarnation }

// Err asks the host whether the flow stops, now and then.
func (s *surroundings) Err() error {
	if err := s.Context.Err(); err != nil || s.guest.ask == nil || time.Since(s.asked) < askEvery {
		return err
	}
	s.asked = time.Now()
	var answer struct {
		Value bool `json:"value"`
	}
	if _, err := s.ask("cancelled", words{}, &answer); err == nil && answer.Value {
		s.guest.Cancel()
	}
	return s.Context.Err()
}

const askEvery = 20 * time.Millisecond

func (s *surroundings) Resume() Resume { return s.resume }
func (s *surroundings) Demand() Demand { return s.demand }

func (s *surroundings) Now() time.Time {
	if s.now.IsZero() {
		return time.Now().UTC()
	}
	return s.now
}

func (s *surroundings) Random() *rand.Rand {
	if s.random == nil {
		var seed [32]byte
		copy(seed[:], s.seed)
		for i, c := range []byte(s.seed) {
			seed[i%32] = seed[i%32]*31 + c
		}
		s.random = rand.New(rand.NewChaCha8(seed))
	}
	return s.random
}

func (s *surroundings) Log() *slog.Logger {
	if s.log == nil {
		s.log = slog.New(&logHandler{ask: s})
	}
	return s.log
}

func (s *surroundings) Secret(name string) (string, error) {
	var answer struct {
		Value string `json:"value"`
	}
	_, err := s.ask("secret", words{"name": name}, &answer)
	return answer.Value, err
}

func (s *surroundings) Count(name string, value float64) { s.metric(name, "count", value) }
func (s *surroundings) Gauge(name string, value float64) { s.metric(name, "gauge", value) }

func (s *surroundings) metric(name, kind string, value float64) {
	// A number that nobody takes is no reason to fail.
	_, _ = s.ask("metric", words{"name": name, "kind": kind, "value": value}, nil)
}

func (s *surroundings) Limit(name, rate string) error {
	_, err := s.ask("limit", words{"name": name, "rate": rate}, nil)
	return err
}

func (s *surroundings) RequestCheckpoint() error {
	_, err := s.ask("checkpoint", words{}, nil)
	return err
}

func (s *surroundings) Progress(done, total float64, note string) {
	told := words{"done": done, "note": note, "total": nil}
	if total != 0 {
		told["total"] = total
	}
	_, _ = s.ask("progress", told, nil)
}

func (s *surroundings) Refuse(refused Refused) {
	refused.Raw = bytes.Clone(refused.Raw[:min(len(refused.Raw), rawLimit)])
	s.refused = append(s.refused, refused)
}

type words map[string]any

// ask asks the host, and reads the words of its answer.
func (s *surroundings) ask(op string, told words, into any, parts ...[]byte) ([][]byte, error) {
	told["op"], told["instance"] = op, s.instance
	header, given, err := s.guest.question(told, parts)
	if err != nil {
		return nil, err
	}
	var refused struct {
		Error *Problem `json:"error"`
		After *float64 `json:"after"`
	}
	if err := json.Unmarshal(header, &refused); err != nil {
		return nil, badFrame("the answer to `%s`: %v", op, err)
	}
	if refused.Error != nil {
		if refused.Error.Code == "guest.cancelled" {
			s.guest.Cancel()
		}
		if refused.After != nil {
			return nil, Retry(time.Duration(*refused.After*float64(time.Second)), refused.Error)
		}
		return nil, refused.Error
	}
	if into != nil {
		if err := json.Unmarshal(header, into); err != nil {
			return nil, badFrame("the answer to `%s`: %v", op, err)
		}
	}
	return given, nil
}

// logHandler sends log records to the host.
type logHandler struct {
	ask    *surroundings
	groups string
	words  string
}

func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *logHandler) Handle(_ context.Context, record slog.Record) error {
	var text bytes.Buffer
	text.WriteString(record.Message)
	text.WriteString(h.words)
	record.Attrs(func(each slog.Attr) bool {
		fmt.Fprintf(&text, " %s%s=%v", h.groups, each.Key, each.Value.Resolve())
		return true
	})
	level := "debug"
	switch {
	case record.Level >= slog.LevelError:
		level = "error"
	case record.Level >= slog.LevelWarn:
		level = "warning"
	case record.Level >= slog.LevelInfo:
		level = "info"
	}
	_, err := h.ask.ask("log", words{"level": level, "message": text.String()}, nil)
	return err
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	copied := *h
	for _, each := range attrs {
		copied.words += fmt.Sprintf(" %s%s=%v", h.groups, each.Key, each.Value.Resolve())
	}
	return &copied
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	copied := *h
	copied.groups += name + "."
	return &copied
}

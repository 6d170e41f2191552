// Package dftest runs components of a plugin in its tests, as a host does: by frames, with rows, and a host that
// answers what they ask.
//
//	made := dftest.Open(t, "processor:geohash", map[string]any{"precision": 5}, nil)
//	got := dftest.Process[cell](made, place{52.5, 13.4})
package dftest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/internal/frame"
)

// Host answers what components ask. Its zero value grants nothing but state, timers, log and metrics.
type Host struct {
	Secrets map[string]string
	// HTTP answers requests; nil: they are refused.
	HTTP func(dataflare.Request) (*dataflare.Response, error)
	// Inputs are what comes of each input, piece by piece; then it ends.
	Inputs map[string][][]byte
	// Stopping tells components that the flow stops.
	Stopping bool

	// What components did:
	Logged      []string
	Metrics     map[string]float64
	Checkpoints int
	State       map[string]map[string]json.RawMessage // state → canonical key bytes → value
	Timers      []Timer
}

// Timer is a timer that was set, or dropped if it has no time.
type Timer struct {
	At    time.Time
	Event bool
}

type question struct {
	Op      string            `json:"op"`
	Name    string            `json:"name"`
	Keys    []string          `json:"keys"`
	Values  []json.RawMessage `json:"values"`
	After   string            `json:"after"`
	Limit   int               `json:"limit"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Timeout float64           `json:"timeout"`
	Part    *int              `json:"part"`
	Kind    string            `json:"kind"`
	Value   float64           `json:"value"`
	Level   string            `json:"level"`
	Message string            `json:"message"`
	At      []time.Time       `json:"at"`
	Event   bool              `json:"event"`
}

func (h *Host) answer(packed []byte) ([]byte, error) {
	header, parts, err := frame.Unpack(packed)
	if err != nil {
		return nil, err
	}
	var asked question
	if err := json.Unmarshal(header, &asked); err != nil {
		return nil, err
	}
	told, given, err := h.told(&asked, parts)
	if err != nil {
		told, given = map[string]any{"error": refusal(err)}, nil
	}
	return frame.Append(nil, told, given)
}

func refusal(err error) *dataflare.Problem {
	if known, ok := err.(*dataflare.Problem); ok {
		return known
	}
	return &dataflare.Problem{Code: "test.refused", Message: err.Error(), Kind: "fatal"}
}

func denied(what string) error {
	return &dataflare.Problem{Code: "permission.denied", Message: fmt.Sprintf("`%s` is not granted", what), Kind: "fatal"}
}

func (h *Host) told(asked *question, parts [][]byte) (map[string]any, [][]byte, error) {
	none := map[string]any{}
	switch asked.Op {
	case "state.get":
		values := make([]json.RawMessage, len(asked.Keys))
		for i, key := range asked.Keys {
			values[i] = h.state(asked.Name)[plain(key)]
		}
		return map[string]any{"values": values}, nil, nil
	case "state.put":
		for i, key := range asked.Keys {
			if string(asked.Values[i]) == "null" {
				delete(h.state(asked.Name), plain(key))
			} else {
				h.state(asked.Name)[plain(key)] = asked.Values[i]
			}
		}
	case "state.items":
		held, keys, values := h.state(asked.Name), []string{}, []json.RawMessage{}
		for _, key := range slices.Sorted(maps.Keys(held)) {
			if asked.After != "" && key <= plain(asked.After) {
				continue
			}
			if asked.Limit > 0 && len(keys) == asked.Limit {
				return map[string]any{"keys": keys, "values": values, "next": keys[len(keys)-1]}, nil, nil
			}
			keys, values = append(keys, base64.StdEncoding.EncodeToString([]byte(key))), append(values, held[key])
		}
		return map[string]any{"keys": keys, "values": values}, nil, nil
	case "secret":
		value, ok := h.Secrets[asked.Name]
		if !ok {
			return nil, nil, denied("secret " + asked.Name)
		}
		return map[string]any{"value": value}, nil, nil
	case "http":
		return h.request(asked, parts)
	case "input":
		pieces, ok := h.Inputs[asked.Name]
		switch {
		case !ok:
			return nil, nil, denied("input " + asked.Name)
		case len(pieces) == 0:
			return map[string]any{"end": true}, nil, nil
		}
		h.Inputs[asked.Name] = pieces[1:]
		return map[string]any{"part": 0}, pieces[:1], nil
	case "log":
		h.Logged = append(h.Logged, asked.Level+": "+asked.Message)
	case "metric":
		if h.Metrics == nil {
			h.Metrics = map[string]float64{}
		}
		if asked.Kind == "count" {
			asked.Value += h.Metrics[asked.Name]
		}
		h.Metrics[asked.Name] = asked.Value
	case "timers.set":
		for _, at := range asked.At {
			h.Timers = append(h.Timers, Timer{at, asked.Event})
		}
	case "timers.drop":
		h.Timers = append(h.Timers, Timer{})
	case "checkpoint":
		h.Checkpoints++
	case "cancelled":
		return map[string]any{"value": h.Stopping}, nil, nil
	}
	return none, nil, nil
}

func (h *Host) request(asked *question, parts [][]byte) (map[string]any, [][]byte, error) {
	if h.HTTP == nil {
		return nil, nil, denied("http")
	}
	request := dataflare.Request{
		Method: asked.Method, URL: asked.URL, Headers: asked.Headers,
		Timeout: time.Duration(asked.Timeout * float64(time.Second)),
	}
	if asked.Part != nil {
		request.Body = parts[*asked.Part]
	}
	response, err := h.HTTP(request)
	if err != nil {
		return nil, nil, err
	}
	return map[string]any{"status": response.Status, "headers": response.Headers, "part": 0}, [][]byte{response.Body}, nil
}

func (h *Host) state(name string) map[string]json.RawMessage {
	if h.State == nil {
		h.State = map[string]map[string]json.RawMessage{}
	}
	if h.State[name] == nil {
		h.State[name] = map[string]json.RawMessage{}
	}
	return h.State[name]
}

func plain(key string) string {
	content, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return key
	}
	return string(content)
}

// Context is one to call a component's functions with directly; host nil: one that grants nothing.
func Context(t testing.TB, host *Host) dataflare.Context {
	t.Helper()
	return guestOf(t, host).Context()
}

func guestOf(t testing.TB, host *Host) *dataflare.Guest {
	if host == nil {
		host = &Host{}
	}
	guest := dataflare.NewGuest(host.answer)
	t.Cleanup(guest.Close)
	return guest
}

package dataflare

import (
	"encoding/json"
	"errors"
	"io"
)

// reader is what drives a source.
type reader interface {
	driver
	splits(known Known, again bool) ([]Split, json.RawMessage, error)
	read(split Split, position json.RawMessage, anew bool) (step, error)
	stop(split string) error
	acknowledge(split Split, position json.RawMessage) error
	divide(split Split, position json.RawMessage) ([]Split, error)
}

// step is what one read gave.
type step struct {
	batch    Batch
	position json.RawMessage
	idle     *idle
	end      bool
}

func onSource(f func(*instance, reader, *request) (answer, error)) operation {
	return func(_ *Guest, open *instance, given *request) (answer, error) {
		driven, ok := open.driver.(reader)
		if !ok {
			return answer{}, open.cannot()
		}
		return f(open, driven, given)
	}
}

type splitWords struct {
	ID    string          `json:"id"`
	Data  json.RawMessage `json:"data"`
	Start json.RawMessage `json:"start"`
	After []string        `json:"after"`
	Size  *int64          `json:"size"`
}

func (r *request) split() (Split, error) {
	if r.Split == nil {
		return Split{}, missing("split")
	}
	var told splitWords
	if err := json.Unmarshal(r.Split, &told); err != nil {
		return Split{}, badFrame("its split: %v", err)
	}
	return Split{ID: told.ID, Data: told.Data, Start: told.Start, After: told.After, Size: told.Size}, nil
}

func tellSplits(splits []Split) ([]splitWords, error) {
	told := make([]splitWords, len(splits))
	seen := map[string]bool{}
	for i, each := range splits {
		if each.ID == "" || seen[each.ID] {
			return nil, problem("config", "source.splits", "`%s` is not the id of one split: name the thing read, each once", each.ID)
		}
		seen[each.ID] = true
		data, err := json.Marshal(each.Data)
		start, err2 := json.Marshal(each.Start)
		if err = errors.Join(err, err2); err != nil {
			return nil, problem("config", "split.json", "the split `%s` is not JSON: %v", each.ID, err)
		}
		told[i] = splitWords{each.ID, data, start, orEmpty(each.After), each.Size}
	}
	return told, nil
}

func (i *instance) splits(driven reader, given *request) (answer, error) {
	found, position, err := driven.splits(Known{given.Position, given.Finished}, given.Again)
	if errors.Is(err, io.EOF) && len(found) == 0 {
		return answer{header: words{"splits": []splitWords{}, "end": true}}, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return answer{}, err
	}
	told, err := tellSplits(found)
	if err != nil {
		return answer{}, err
	}
	if len(position) == 0 {
		position = json.RawMessage("null")
	}
	return answer{header: words{"splits": told, "position": position}}, nil
}

// stepWords is the answer to a read.
type stepWords struct {
	Outputs  []outputWords   `json:"outputs,omitempty"`
	Position json.RawMessage `json:"position,omitempty"`
	Idle     bool            `json:"idle,omitempty"`
	After    *float64        `json:"after,omitempty"`
	Refused  []Refused       `json:"refused,omitempty"`
	End      bool            `json:"end,omitempty"`
}

func (i *instance) read(driven reader, given *request) (answer, error) {
	split, err := given.split()
	if err != nil {
		return answer{}, err
	}
	ctx := i.context()
	ctx.demand = given.demand()
	made, err := driven.read(split, given.Position, given.Anew)
	refused := ctx.refused
	ctx.refused = nil
	if err != nil {
		return answer{}, err
	}
	if made.end && len(refused) == 0 {
		return answer{header: stepWords{End: true}}, nil
	}
	told := stepWords{Position: made.position, Refused: refused}
	var parts [][]byte
	if made.batch.Len() > 0 {
		part, err := i.encode(made.batch, i.outputs[made.batch.Stream()])
		if err != nil {
			return answer{}, err
		}
		told.Outputs, parts = []outputWords{{made.batch.Stream(), 0}}, [][]byte{part}
	}
	if made.idle != nil || made.batch.Len() == 0 {
		after := 0.0
		if made.idle != nil {
			after = made.idle.after.Seconds()
		}
		told.Idle, told.After = true, &after
	}
	return answer{told, parts}, nil
}

func (i *instance) stopReading(driven reader, given *request) (answer, error) {
	var id string
	if err := json.Unmarshal(given.Split, &id); err != nil {
		return answer{}, missing("split")
	}
	return nothing, driven.stop(id)
}

func (i *instance) acknowledge(driven reader, given *request) (answer, error) {
	split, err := given.split()
	if err != nil {
		return answer{}, err
	}
	if given.Position == nil {
		return answer{}, missing("position")
	}
	return nothing, driven.acknowledge(split, given.Position)
}

func (i *instance) divide(driven reader, given *request) (answer, error) {
	split, err := given.split()
	if err != nil {
		return answer{}, err
	}
	children, err := driven.divide(split, given.Position)
	if err != nil {
		return answer{}, err
	}
	told, err := tellSplits(children)
	return answer{header: words{"splits": told}}, err
}

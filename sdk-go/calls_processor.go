package dataflare

import (
	"encoding/json"
)

func onProcessor(f func(*instance, *processor, *request) (answer, error)) operation {
	return func(_ *Guest, open *instance, given *request) (answer, error) {
		driven, ok := open.driver.(*processor)
		if !ok {
			return answer{}, open.cannot()
		}
		open.moment(given)
		return f(open, driven, given)
	}
}

// processedWords is the answer to what gives outputs.
type processedWords struct {
	Outputs []outputWords `json:"outputs"`
	Rejects []rejectWords `json:"rejects"`
}

func (i *instance) processBatch(driven *processor, given *request) (answer, error) {
	input := ""
	if given.Input != nil && json.Unmarshal(given.Input, &input) != nil {
		return answer{}, badFrame("its `input` is not the name of one")
	}
	batch, err := i.decode(given, i.inputs[input])
	if err != nil {
		return answer{}, err
	}
	made, err := driven.run(input, batch)
	if err != nil {
		return answer{}, err
	}
	return i.processed(made, batch.calls)
}

func (i *instance) processed(made Batch, refused *refusals) (answer, error) {
	outs := []Batch{made}
	if made.batch == nil {
		outs = nil
	} else if made.outs != nil {
		outs = made.outs
	}
	told := processedWords{Outputs: []outputWords{}}
	var parts [][]byte
	for _, each := range outs {
		name := each.Stream()
		if each.batch == nil {
			continue
		}
		if name == "" || each.given {
			name = mainOutput
		}
		if i.outputs != nil {
			if _, known := i.outputs[name]; !known {
				return answer{}, problem("config", "step.unknown_output", "`%s` has no output `%s`: name it with Outputs", i.name, name)
			}
		}
		part, err := i.encode(each, i.outputs[name])
		if err != nil {
			return answer{}, err
		}
		told.Outputs = append(told.Outputs, outputWords{name, len(parts)})
		parts = append(parts, part)
	}
	told.Rejects = refused.tell(&parts)
	return answer{told, parts}, nil
}

func (i *instance) timer(driven *processor, given *request) (answer, error) {
	called, ok := driven.of.(Timer)
	if !ok {
		return i.processed(Batch{}, nil)
	}
	if given.Time == nil {
		return answer{}, missing("time")
	}
	keys, err := i.decodeKeys(given)
	if err != nil {
		return answer{}, err
	}
	made, err := called.Timer(i.context(), keys, given.Time.UTC())
	if err != nil {
		return answer{}, err
	}
	return i.processed(made, keys.calls)
}

func (i *instance) watermark(driven *processor, given *request) (answer, error) {
	called, ok := driven.of.(Watermarker)
	if !ok {
		return i.processed(Batch{}, nil)
	}
	if given.Time == nil {
		return answer{}, missing("time")
	}
	made, err := called.Watermark(i.context(), given.Time.UTC())
	if err != nil {
		return answer{}, err
	}
	return i.processed(made, nil)
}

func (i *instance) finish(driven *processor, _ *request) (answer, error) {
	called, ok := driven.of.(Finisher)
	if !ok {
		return i.processed(Batch{}, nil)
	}
	made, err := called.Finish(i.context())
	if err != nil {
		return answer{}, err
	}
	return i.processed(made, nil)
}

package dataflare

import (
	"encoding/json"
	"errors"
	"io"
	"iter"
)

type operation func(*Guest, *instance, *request) (answer, error)

// operations are those on an open instance.
var operations = map[string]operation{
	"splits":       onSource((*instance).splits),
	"read":         onSource((*instance).read),
	"stop_reading": onSource((*instance).stopReading),
	"acknowledge":  onSource((*instance).acknowledge),
	"divide":       onSource((*instance).divide),
	"process":      onProcessor((*instance).processBatch),
	"timer":        onProcessor((*instance).timer),
	"watermark":    onProcessor((*instance).watermark),
	"finish":       onProcessor((*instance).finish),
	"begin":        onSink((*instance).begin),
	"write":        onSink((*instance).write),
	"prepare":      onSink((*instance).prepare),
	"commit":       onSink((*instance).commit),
	"abort":        onSink((*instance).abort),
	"recover":      onSink((*instance).recoverEpoch),
	"readback":     readback,
	"snapshot":     snapshot,
	"restore":      restore,
}

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

func onSink(f func(*instance, writing, *request) (answer, error)) operation {
	return func(_ *Guest, open *instance, given *request) (answer, error) {
		driven, ok := open.driver.(writing)
		if !ok {
			return answer{}, open.cannot()
		}
		open.moment(given)
		return f(open, driven, given)
	}
}

func (i *instance) cannot() error {
	return problem("config", "guest.operation", "`%s` is a %s: it has no such operation", i.name, i.kind)
}

// moment is what the host says of a call: its epoch, its ingest time, the seed of its random numbers.
func (i *instance) moment(given *request) {
	ctx := i.context()
	if given.Epoch != nil {
		ctx.words.Epoch = *given.Epoch
	}
	if given.Clock != nil {
		ctx.now = given.Clock.UTC()
	}
	if given.Seed != nil {
		ctx.seed, ctx.random = string(given.Seed), nil
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

type outputWords struct {
	Name string `json:"name"`
	Part int    `json:"part"`
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

func snapshot(_ *Guest, open *instance, _ *request) (answer, error) {
	kept, ok := open.author().(Snapshotter)
	if !ok {
		return nothing, nil
	}
	data, err := kept.Snapshot()
	if err != nil || data == nil {
		return nothing, err
	}
	return answer{words{"part": 0}, [][]byte{data}}, nil
}

func restore(_ *Guest, open *instance, given *request) (answer, error) {
	kept, ok := open.author().(Snapshotter)
	if !ok {
		return answer{}, open.cannot()
	}
	data, err := given.part()
	if err != nil {
		return answer{}, err
	}
	version := 1
	if given.Version != nil {
		version = *given.Version
	}
	return nothing, kept.Restore(append([]byte(nil), data...), version)
}

func (i *instance) begin(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	return nothing, driven.begin(*given.Epoch)
}

func (i *instance) write(driven writing, given *request) (answer, error) {
	batch, err := i.decode(given, i.inputs[""])
	if err != nil {
		return answer{}, err
	}
	if err := driven.write(batch); err != nil {
		return answer{}, err
	}
	var parts [][]byte
	told := batch.calls.tell(&parts)
	return answer{words{"rejects": told}, parts}, nil
}

func (i *instance) prepare(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	token, err := driven.prepare(*given.Epoch, given.Last)
	return answer{header: words{"token": token}}, err
}

func (i *instance) commit(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	return nothing, driven.commit(*given.Epoch, given.Tokens)
}

func (i *instance) abort(driven writing, given *request) (answer, error) {
	if given.Epoch == nil {
		return answer{}, missing("epoch")
	}
	return nothing, driven.abort(*given.Epoch, given.Tokens)
}

func (i *instance) recoverEpoch(driven writing, _ *request) (answer, error) {
	recoverer, ok := driven.author().(Recoverer)
	if !ok {
		return answer{header: words{"epoch": nil}}, nil
	}
	epoch, held, err := recoverer.Recover(i.context())
	if err != nil || !held {
		return answer{header: words{"epoch": nil}}, err
	}
	return answer{header: words{"epoch": epoch}}, nil
}

func readback(g *Guest, open *instance, given *request) (answer, error) {
	kept, ok := open.author().(Readbacker)
	if !ok {
		return answer{}, open.cannot()
	}
	next, stop := iter.Pull2(kept.Readback(open.context(), given.Stream))
	g.rest = func() (answer, error) {
		batch, err, more := next()
		if !more || err != nil {
			stop()
			if err == nil {
				err = io.EOF
			}
			return answer{}, err
		}
		part, err := open.encode(batch, Schema{Open: true})
		if err != nil {
			return answer{}, err
		}
		return answer{words{"outputs": []outputWords{{"", 0}}, "more": true}, [][]byte{part}}, nil
	}
	return g.goOn()
}

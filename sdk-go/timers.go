package dataflare

import "time"

// Timers are those of a processor with keys; due ones come back through Timer.
type Timers interface {
	// Set asks to be called for the keys of these rows, each at its time: event time, or, if event is false, the time
	// on the clock. A later one replaces.
	Set(keys Batch, at []time.Time, event bool) error
	// Drop forgets the timers of the keys of these rows.
	Drop(keys Batch) error
}

func (s *surroundings) Timers() Timers { return timers{s} }

type timers struct{ ctx *surroundings }

func (t timers) Set(keys Batch, at []time.Time, event bool) error {
	told := make([]string, len(at))
	for i, each := range at {
		told[i] = each.UTC().Format("2006-01-02T15:04:05.999999Z07:00")
	}
	return t.ask("timers.set", keys, words{"at": told, "event": event})
}

func (t timers) Drop(keys Batch) error { return t.ask("timers.drop", keys, words{}) }

func (t timers) ask(op string, keys Batch, told words) error {
	schema := keys.Schema()
	if len(schema.Columns) == 0 {
		schema = t.ctx.inputs
	}
	part, err := keys.append(nil, t.ctx.encoding, schema)
	if err != nil {
		return err
	}
	told["part"] = 0
	_, err = t.ctx.ask(op, told, nil, part)
	return err
}

package dataflare

import (
	"errors"

	"dataflare.dev/sdk-go/internal/rows"
)

func encodings() []string { return []string{"json"} }

func speaks(encoding string) bool { return encoding == "json" }

// decode is the batch of a request.
func (i *instance) decode(given *request, schema Schema) (Batch, error) {
	part, err := given.part()
	if err != nil {
		return Batch{}, err
	}
	// One copy for the whole batch: its texts share it, and the host writes the next frame over the part itself.
	made := &batch{name: given.Stream, text: string(part), schema: schema, given: true}
	if !looksLikeRows(made.text) {
		return Batch{}, problem("fatal", "guest.batch", "a part is not an array of JSON objects")
	}
	return Batch{made}, nil
}

// looksLikeRows is a first look; the rest is found when rows are read.
func looksLikeRows(text string) bool {
	s := rows.Scanner{Text: text}
	return s.Take('[') && (s.Take('{') || s.Take(']'))
}

func (i *instance) decodeKeys(given *request) (Batch, error) {
	return i.decode(given, i.context().inputs)
}

// encode is a batch as one part, its rows by the schema that was planned.
func (i *instance) encode(made Batch, schema Schema) ([]byte, error) {
	part, err := made.appendJSON(nil, schema)
	if unplanned, ok := errors.AsType[*rows.Unplanned](err); ok {
		return nil, &Problem{
			Code: "step.unknown_column", Message: unplanned.Error(), Kind: "config",
			Fix: "say with Adds, Gives or Plan which columns the output has",
		}
	}
	return part, err
}

package dataflare

import (
	"errors"

	"dataflare.dev/sdk-go/internal/encoding"
	"dataflare.dev/sdk-go/internal/rows"
)

const (
	byRow    = "json"
	byColumn = "arrow"
)

// encodings are those that this plugin has, the one that it would rather have first.
func encodings() []string {
	if encoding.Arrow != nil {
		return []string{byColumn, byRow}
	}
	return []string{byRow}
}

// decode is the batch of a request.
func (i *instance) decode(given *request, schema Schema) (Batch, error) {
	part, err := given.part()
	if err != nil {
		return Batch{}, err
	}
	made := &batch{name: given.Stream, schema: schema, given: true}
	if i.encoding == byColumn {
		if made.cells, err = encoding.Arrow.Decode(part); err != nil {
			return Batch{}, &Problem{Code: "guest.batch", Message: "a part is not an Arrow stream", Cause: err.Error(), Kind: "fatal"}
		}
		made.schema = made.cells.Schema()
		return Batch{made}, nil
	}
	// One copy for the whole batch: its texts share it, and the host writes the next frame over the part itself.
	if made.text = string(part); !looksLikeRows(made.text) {
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
	part, err := made.append(nil, i.encoding, schema)
	if unplanned, ok := errors.AsType[*rows.Unplanned](err); ok {
		return nil, &Problem{
			Code: "step.unknown_column", Message: unplanned.Error(), Kind: "config",
			Fix: "say with Adds, Gives or Plan which columns the output has",
		}
	}
	return part, err
}

// Structs is the rows of a batch that Rows made: for packages of this module.
func (b *batch) Structs() encoding.Structs {
	return encoding.Structs{Plan: b.plan, Len: b.len, At: b.at}
}

func (b *batch) append(dst []byte, how string, schema Schema) ([]byte, error) {
	switch {
	case how == byRow:
		return b.appendJSON(dst, schema)
	case b == nil:
		return encoding.Arrow.AppendStructs(dst, encoding.Structs{Plan: planFor[Row]()}, schema)
	case b.plan != nil:
		return encoding.Arrow.AppendStructs(dst, b.Structs(), schema)
	}
	cells, err := b.Cells()
	if err != nil {
		return dst, err
	}
	return encoding.Arrow.AppendCells(dst, cells, schema)
}

package rows

import (
	"slices"
	"strings"

	"dataflare.dev/sdk-go/internal/types"
)

// Cells is a batch of rows as they came, in either encoding.
type Cells interface {
	Len() int
	Schema() types.Schema
	Value(row int, column string) (value any, ok bool)
	Names(row int) []string
}

// JSON is a batch of rows that came as an array of objects.
type JSON struct {
	text   string
	schema types.Schema
	rows   []object
	values []string
}

// object is a row: its whole text, and where its values stand.
type object struct {
	shape *shape
	from  int
	text  string
}

// shape is the names of an object, shared by the rows that have the same.
type shape struct {
	names []string
	raw   []string // as they are written, in quotes
}

// ParseJSON cuts the rows of a batch apart.
func ParseJSON(text string, schema types.Schema) (*JSON, error) {
	s := Scanner{Text: text}
	cells := &JSON{text: text, schema: schema}
	current := &shape{}
	s.Items(func() {
		s.Peek()
		start, from := s.At, len(cells.values)
		current = cells.object(&s, current)
		cells.rows = append(cells.rows, object{current, from, text[start:s.At]})
	})
	s.End()
	return cells, s.Err
}

// object reads one row. Nearly always its names are those of the row before.
func (c *JSON) object(s *Scanner, known *shape) *shape {
	if !s.Expect('{') {
		return known
	}
	if s.Take('}') {
		if len(known.names) == 0 {
			return known
		}
		return &shape{}
	}
	found, same := known, true
	for at := 0; s.Err == nil; at++ {
		s.Peek()
		if same && at < len(known.raw) && strings.HasPrefix(s.Text[s.At:], known.raw[at]) {
			s.At += len(known.raw[at])
		} else {
			if same {
				found = &shape{slices.Clone(known.names[:min(at, len(known.names))]), slices.Clone(known.raw[:min(at, len(known.raw))])}
				same = false
			}
			start := s.At
			name := s.String()
			found.names, found.raw = append(found.names, name), append(found.raw, s.Text[start:s.At])
		}
		s.Expect(':')
		c.values = append(c.values, s.Skip())
		if !s.Take(',') {
			if s.Expect('}') && same && at+1 < len(known.names) {
				return &shape{slices.Clone(known.names[:at+1]), slices.Clone(known.raw[:at+1])}
			}
			break
		}
	}
	return found
}

// Len is how many rows there are.
func (c *JSON) Len() int { return len(c.rows) }

// Schema is what the host said of the rows.
func (c *JSON) Schema() types.Schema { return c.schema }

// Names are the names that a row has.
func (c *JSON) Names(row int) []string { return c.rows[row].shape.names }

// raw is the text of a value; empty: there is none.
func (c *JSON) raw(row int, column string) string {
	told := &c.rows[row]
	for i := len(told.shape.names) - 1; i >= 0; i-- {
		if told.shape.names[i] == column {
			return c.values[told.from+i]
		}
	}
	return ""
}

// Value is a value by the type of its column.
func (c *JSON) Value(row int, column string) (any, bool) {
	raw := c.raw(row, column)
	known, ok := c.schema.Column(column)
	if raw == "" {
		return nil, ok
	}
	if !ok {
		known.Type = types.Of(types.Other)
	}
	s := Scanner{Text: raw}
	value := ReadValue(&s, known.Type.Plain())
	if s.Err != nil {
		return nil, false
	}
	return value, true
}

package rows

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"dataflare.dev/sdk-go/internal/types"
)

// Row is one row with columns that the program does not name in a struct. Embedded in a struct, it keeps the columns
// that the struct has no fields for.
//
// Its zero value has no columns; Set adds some.
type Row struct {
	cells Cells
	at    int
	set   []cell
}

type cell struct {
	name  string
	value any
}

// RowOf is a row of a batch.
func RowOf(cells Cells, at int) Row { return Row{cells: cells, at: at} }

// From is where the row comes from: nil for one that was made.
func (r Row) From() (cells Cells, at int) { return r.cells, r.at }

// Changed goes over the values that were set.
func (r Row) Changed() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, each := range r.set {
			if !yield(each.name, each.value) {
				return
			}
		}
	}
}

// Get is the value of a column, by its type: bool, int64, uint64, float64, string, []byte, time.Time, time.Duration,
// Date, TimeOfDay, Decimal, []any for lists, map[string]any for structs, []Pair for maps. Nil: it is null, or there is
// no such column.
func (r Row) Get(column string) any {
	value, _ := r.Lookup(column)
	return value
}

// Lookup is Get; ok tells whether there is such a column.
func (r Row) Lookup(column string) (value any, ok bool) {
	for _, each := range r.set {
		if each.name == column {
			return each.value, true
		}
	}
	if r.cells == nil {
		return nil, false
	}
	return r.cells.Value(r.at, column)
}

// Set gives a column a value; nil makes it null. The output's schema must have the column: see Adds and Plan.
func (r *Row) Set(column string, value any) {
	for i := range r.set {
		if r.set[i].name == column {
			r.set = slices.Clone(r.set)
			r.set[i].value = value
			return
		}
	}
	r.set = append(slices.Clip(r.set), cell{column, value})
}

// Columns are the names of the row's columns.
func (r Row) Columns() []string {
	var found []string
	if r.cells != nil {
		found = slices.Clone(r.cells.Names(r.at))
	}
	for _, each := range r.set {
		if !slices.Contains(found, each.name) {
			found = append(found, each.name)
		}
	}
	return found
}

// Float is a number; ok is false for null, and for what is no number.
func (r Row) Float(column string) (n float64, ok bool) {
	switch v := r.Get(column).(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float32:
		return float64(v), true
	case int:
		return float64(v), true
	case Decimal:
		n, err := v.Float()
		return n, err == nil
	}
	return 0, false
}

// Int is a whole number; ok is false for null, and for what is none.
func (r Row) Int(column string) (n int64, ok bool) {
	switch v := r.Get(column).(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case uint64:
		return int64(v), v <= 1<<63-1
	}
	return 0, false
}

// Text is a text; ok is false for null, and for what is none.
func (r Row) Text(column string) (text string, ok bool) {
	text, ok = r.Get(column).(string)
	return text, ok
}

// Bool is a truth value; ok is false for null, and for what is none.
func (r Row) Bool(column string) (set, ok bool) {
	set, ok = r.Get(column).(bool)
	return set, ok
}

// Time is a time; ok is false for null, and for what is none.
func (r Row) Time(column string) (at time.Time, ok bool) {
	at, ok = r.Get(column).(time.Time)
	return at, ok
}

// appendJSON adds the row's members. taken: the columns that the struct around it writes itself.
func (r Row) appendJSON(dst []byte, taken *Plan, schema *types.Schema, memo *memo) ([]byte, error) {
	first := true
	lead := func(quoted string) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, quoted...), ':')
	}
	if told, ok := r.cells.(*JSON); ok {
		row := &told.rows[r.at]
		if len(r.set) == 0 && taken.free(memo, row.shape) {
			return append(dst, row.text[1:len(row.text)-1]...), nil
		}
		for i, name := range row.shape.names {
			if taken.Field(name) < 0 && !r.sets(name) {
				lead(row.shape.raw[i])
				dst = append(dst, told.values[row.from+i]...)
			}
		}
	} else if r.cells != nil {
		known := r.cells.Schema()
		for _, name := range r.cells.Names(r.at) {
			if taken.Field(name) >= 0 || r.sets(name) {
				continue
			}
			value, _ := r.cells.Value(r.at, name)
			column, _ := known.Column(name)
			lead(string(AppendString(nil, name)))
			var err error
			if dst, err = AppendValue(dst, value, column.Type.Plain()); err != nil {
				return dst, fmt.Errorf("`%s`: %w", name, err)
			}
		}
	}
	for _, each := range r.set {
		column, ok := schema.Column(each.name)
		if !ok && !schema.Open && len(schema.Columns) > 0 {
			return dst, &Unplanned{each.name}
		}
		if taken.Field(each.name) >= 0 {
			continue
		}
		lead(string(AppendString(nil, each.name)))
		var err error
		if dst, err = AppendValue(dst, each.value, column.Type.Plain()); err != nil {
			return dst, fmt.Errorf("`%s`: %w", each.name, err)
		}
	}
	return dst, nil
}

func (r Row) sets(name string) bool {
	for i := range r.set {
		if r.set[i].name == name {
			return true
		}
	}
	return false
}

// Unplanned is the error of a column that was set, and that the output's schema does not have.
type Unplanned struct{ Column string }

func (u *Unplanned) Error() string {
	return fmt.Sprintf("the row has the column `%s`, which the output's schema does not", u.Column)
}

// memo remembers of the last row's shape whether the struct around it has none of its columns.
type memo struct {
	shape *shape
	free  bool
}

func (p *Plan) free(known *memo, of *shape) bool {
	if known.shape != of {
		known.shape, known.free = of, !slices.ContainsFunc(of.names, func(name string) bool { return p.Field(name) >= 0 })
	}
	return known.free
}

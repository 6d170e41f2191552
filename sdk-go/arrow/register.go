package arrow

import (
	"fmt"
	"slices"
	"unsafe"

	"dataflare.dev/sdk-go/internal/encoding"
	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/types"
)

func init() { encoding.Arrow = stream{} }

// stream is the encoding `arrow`: one IPC stream with one batch.
type stream struct{}

func (stream) Decode(part []byte) (rows.Cells, error) { return decode(slices.Clone(part)) }

func (stream) Read(cells rows.Cells, into encoding.Structs) ([]rows.Bad, error) {
	record, ok := cells.(*Record)
	if !ok {
		var err error
		if record, err = fromCells(cells, cells.Schema()); err != nil {
			return nil, err
		}
	}
	plan := into.Plan
	if plan.Rest >= 0 {
		for i := range into.Len {
			*(*rows.Row)(unsafe.Add(into.At(i), plan.Rest)) = rows.RowOf(record, i)
		}
	}
	var bad []rows.Bad
	for f := range plan.Fields {
		field := &plan.Fields[f]
		column := record.schema.Index(field.Column.Name)
		var void []int
		var err error
		if column >= 0 {
			void, err = readField(field, record.columns[column], into)
		} else if !field.Nullable() {
			void = everyRow(into.Len)
		}
		if err != nil {
			return nil, fmt.Errorf("`%s`: %w", field.Column.Name, err)
		}
		for _, row := range void {
			bad = append(bad, rows.Bad{Row: row, Column: field.Column.Name})
		}
	}
	slices.SortStableFunc(bad, func(a, b rows.Bad) int { return a.Row - b.Row })
	return slices.CompactFunc(bad, func(a, b rows.Bad) bool { return a.Row == b.Row }), nil
}

func everyRow(count int) []int {
	numbers := make([]int, count)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

func (stream) AppendCells(dst []byte, cells rows.Cells, schema types.Schema) ([]byte, error) {
	record, ok := cells.(*Record)
	if !ok {
		if len(schema.Columns) == 0 {
			schema = cells.Schema()
		}
		var err error
		if record, err = fromCells(cells, schema); err != nil {
			return dst, err
		}
	}
	return appendStream(dst, record.schema, record.columns, record.len), nil
}

func (stream) AppendStructs(dst []byte, given encoding.Structs, schema types.Schema) ([]byte, error) {
	plan := given.Plan
	columns := schema.Columns
	if len(columns) == 0 {
		columns = plan.Output(restSchema(given)).Columns
	}
	made := make([]*Array, len(columns))
	told := types.Schema{Columns: slices.Clone(columns)}
	rest := newRests(given, schema)
	for i, column := range columns {
		var err error
		if f := plan.Field(column.Name); f >= 0 {
			kind := plan.Kind(f, column.Type)
			made[i], err = writeField(&plan.Fields[f], kind, given)
		} else {
			made[i], err = rest.column(column)
		}
		if err != nil {
			return dst, err
		}
		told.Columns[i].Type, told.Columns[i].Nullable = made[i].kind, true
	}
	if err := rest.unplanned(); err != nil {
		return dst, err
	}
	return appendStream(dst, told, made, given.Len), nil
}

// restSchema is the columns that the first row's embedded Row keeps, for rows that no schema was planned for.
func restSchema(given encoding.Structs) types.Schema {
	if given.Plan.Rest < 0 || given.Len == 0 {
		return types.Schema{}
	}
	row := (*rows.Row)(unsafe.Add(given.At(0), given.Plan.Rest))
	schema := types.Schema{}
	if cells, _ := row.From(); cells != nil {
		schema = cells.Schema()
	}
	for name, value := range row.Changed() {
		if kind, ok := rows.TypeOfValue(value); ok {
			schema = schema.With(types.Column{Name: name, Type: kind, Nullable: true})
		}
	}
	return schema
}

// rests is what embedded Rows keep, by column.
type rests struct {
	given   encoding.Structs
	schema  types.Schema
	origin  *Record // the record that all rows come from; nil: there is none, or several
	numbers []int   // the rows of it
	inOrder bool    // they are all of them, in order
	changed map[string]bool
}

func newRests(given encoding.Structs, schema types.Schema) *rests {
	r := &rests{given: given, schema: schema, changed: map[string]bool{}}
	if given.Plan.Rest < 0 {
		return r
	}
	same := true
	r.numbers = make([]int, given.Len)
	r.inOrder = true
	for i := range given.Len {
		row := r.row(i)
		cells, at := row.From()
		record, ok := cells.(*Record)
		if i == 0 {
			r.origin = record
		}
		same = same && ok && record == r.origin
		r.numbers[i] = at
		r.inOrder = r.inOrder && at == i
		for name := range row.Changed() {
			r.changed[name] = true
		}
	}
	if !same {
		r.origin = nil
	}
	r.inOrder = r.inOrder && r.origin != nil && r.origin.len == given.Len
	return r
}

func (r *rests) row(i int) *rows.Row {
	return (*rows.Row)(unsafe.Add(r.given.At(i), r.given.Plan.Rest))
}

// column is one that no field is: as it came, where no row changed it.
func (r *rests) column(wanted types.Column) (*Array, error) {
	if r.origin != nil && !r.changed[wanted.Name] {
		if i := r.origin.schema.Index(wanted.Name); i >= 0 {
			if r.inOrder {
				return r.origin.columns[i], nil
			}
			return take(r.origin.columns[i], r.numbers), nil
		}
	}
	kind := wanted.Type
	if kind.Kind == types.Dictionary {
		kind = kind.Plain()
	}
	b := newBuilder(kind)
	for i := range r.given.Len {
		var value any
		if r.given.Plan.Rest >= 0 {
			value = r.row(i).Get(wanted.Name)
		}
		if err := b.value(value); err != nil {
			return nil, fmt.Errorf("`%s` of row %d: %w", wanted.Name, i, err)
		}
	}
	return b.done(), nil
}

// unplanned tells of a column that was set, and that the output does not have.
func (r *rests) unplanned() error {
	for name := range r.changed {
		if r.schema.Index(name) < 0 && !r.schema.Open && len(r.schema.Columns) > 0 {
			return &rows.Unplanned{Column: name}
		}
	}
	return nil
}

package arrow

import (
	"fmt"
	"slices"

	"dataflare.dev/sdk-go"
	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/types"
)

// Record is a batch by its columns. It does not change: With and the like give another one.
type Record struct {
	schema  types.Schema
	columns []*Array
	len     int
}

// Of is a batch by its columns, in whichever encoding it came.
func Of(batch dataflare.Batch) (*Record, error) {
	cells, err := batch.Cells()
	if err != nil || cells == nil {
		return &Record{}, err
	}
	if record, ok := cells.(*Record); ok {
		return record, nil
	}
	return fromCells(cells, cells.Schema())
}

// Batch is the record as a batch.
func (r *Record) Batch() dataflare.Batch { return dataflare.BatchOf(r) }

// Len is the number of rows.
func (r *Record) Len() int { return r.len }

// Schema is the columns.
func (r *Record) Schema() dataflare.Schema { return r.schema }

// Column is the column of this name.
func (r *Record) Column(name string) (*Array, error) {
	i := r.schema.Index(name)
	if i < 0 {
		return nil, fmt.Errorf("there is no column `%s`", name)
	}
	return r.columns[i], nil
}

// With is the record with a column replaced in its place, or added at the end.
func (r *Record) With(name string, column *Array) (*Record, error) {
	if column.len != r.len {
		return nil, fmt.Errorf("the column `%s` has %d values for %d rows", name, column.len, r.len)
	}
	made := &Record{r.schema.With(types.Column{Name: name, Type: column.kind, Nullable: true}), slices.Clone(r.columns), r.len}
	if i := r.schema.Index(name); i >= 0 {
		made.columns[i] = column
	} else {
		made.columns = append(made.columns, column)
	}
	return made, nil
}

// Without is the record without these columns.
func (r *Record) Without(names ...string) *Record {
	made := &Record{schema: r.schema.Without(names...), len: r.len}
	for i, column := range r.schema.Columns {
		if !slices.Contains(names, column.Name) {
			made.columns = append(made.columns, r.columns[i])
		}
	}
	return made
}

// Filter is the rows for which keep is true.
func (r *Record) Filter(keep []bool) (*Record, error) {
	if len(keep) != r.len {
		return nil, fmt.Errorf("there are %d words for %d rows", len(keep), r.len)
	}
	kept := make([]int, 0, r.len)
	for i, wanted := range keep {
		if wanted {
			kept = append(kept, i)
		}
	}
	return r.Take(kept), nil
}

// Take is the rows of these numbers, in their order.
func (r *Record) Take(numbers []int) *Record {
	made := &Record{schema: r.schema, len: len(numbers)}
	for _, column := range r.columns {
		made.columns = append(made.columns, take(column, numbers))
	}
	return made
}

// Value is a value as Row.Get gives it.
func (r *Record) Value(row int, column string) (any, bool) {
	i := r.schema.Index(column)
	if i < 0 {
		return nil, false
	}
	return r.columns[i].Value(row), true
}

// Names are the names of the columns.
func (r *Record) Names(int) []string { return r.schema.Names() }

// ArrayOf makes a column of Go values: numbers, texts, times, pointers to them where some are null.
func ArrayOf[T any](values []T) (*Array, error) {
	column := dataflare.ColumnOf[T]("")
	b := newBuilder(column.Type)
	for i := range values {
		plain, err := rows.Plain(values[i], column.Type)
		if err == nil {
			err = b.value(plain)
		}
		if err != nil {
			return nil, fmt.Errorf("value %d: %w", i, err)
		}
	}
	return b.done(), nil
}

// ArrayOfNumbers makes a column of numbers without nulls, of the memory they stand in.
func ArrayOfNumbers[T Number](values []T) *Array {
	kind := dataflare.ColumnOf[T]("").Type
	return &Array{kind: kind, len: len(values), data: memory(values)}
}

// NullLike is the array with null where another of the same length has it.
func (a *Array) NullLike(other *Array) *Array {
	made := *a
	made.valid, made.nulls = other.valid, other.nulls
	return &made
}

// fromCells makes columns of rows of another encoding.
func fromCells(cells rows.Cells, schema types.Schema) (*Record, error) {
	made := &Record{schema: schema, len: cells.Len()}
	for _, column := range schema.Columns {
		b := newBuilder(column.Type)
		for row := range made.len {
			value, _ := cells.Value(row, column.Name)
			if err := b.value(value); err != nil {
				return nil, fmt.Errorf("`%s` of row %d: %w", column.Name, row, err)
			}
		}
		made.columns = append(made.columns, b.done())
	}
	return made, nil
}

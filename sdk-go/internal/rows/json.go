package rows

import (
	"fmt"
	"strings"
	"unsafe"

	"dataflare.dev/sdk-go/internal/types"
)

// Bad is a row that cannot be a value of its type: a column is null, or not there, that has to have a value.
type Bad struct {
	Row    int
	Column string
}

// ReadJSON reads the rows of a batch into memory that place gives for each; it is zero at first.
func (p *Plan) ReadJSON(text string, place func() unsafe.Pointer) (bad []Bad, err error) {
	s := Scanner{Text: text}
	row := 0
	guess := guesses{}
	s.Items(func() {
		if column := p.readRow(&s, place(), &guess); column != "" {
			bad = append(bad, Bad{row, column})
		}
		row++
	})
	s.End()
	if s.Err != nil {
		return bad, fmt.Errorf("row %d: %w", max(row-1, 0), s.Err)
	}
	return bad, nil
}

// guesses are the names of the row before, in order, and the fields that they are.
type guesses struct {
	raw    []string
	fields []int
	seen   []int
	row    int
}

func (p *Plan) readRow(s *Scanner, at unsafe.Pointer, guess *guesses) (void string) {
	if guess.seen == nil {
		guess.seen = make([]int, len(p.Fields))
	}
	guess.row++
	found := 0
	if !s.Expect('{') {
		return ""
	}
	for slot := 0; s.Err == nil; slot++ {
		if slot == 0 && s.Take('}') {
			break
		}
		field := p.name(s, guess, slot)
		s.Expect(':')
		switch {
		case field < 0:
			s.skip(0)
		case !p.Fields[field].nullable && s.Null():
			void = p.Fields[field].Column.Name
		default:
			p.Fields[field].read(s, unsafe.Add(at, p.Fields[field].Offset))
			if s.Err != nil {
				s.Err = fmt.Errorf("`%s`: %w", p.Fields[field].Column.Name, s.Err)
			}
			if s.Void != "" {
				void, s.Void = p.Fields[field].Column.Name, ""
			}
		}
		if field >= 0 && guess.seen[field] != guess.row {
			guess.seen[field] = guess.row
			found++
		}
		if !s.Take(',') {
			s.Expect('}')
			break
		}
	}
	if found < len(p.Fields) && void == "" && s.Err == nil {
		for i := range p.Fields {
			if guess.seen[i] != guess.row && !p.Fields[i].nullable {
				return p.Fields[i].Column.Name
			}
		}
	}
	return void
}

// name reads the name of a member, and tells which field it is; -1: none.
func (p *Plan) name(s *Scanner, guess *guesses, slot int) int {
	s.Peek()
	if slot < len(guess.raw) && strings.HasPrefix(s.Text[s.At:], guess.raw[slot]) {
		s.At += len(guess.raw[slot])
		return guess.fields[slot]
	}
	start := s.At
	field := p.Field(s.String())
	if s.Err == nil {
		guess.raw = append(guess.raw[:min(slot, len(guess.raw))], s.Text[start:s.At])
		guess.fields = append(guess.fields[:min(slot, len(guess.fields))], field)
	}
	return field
}

// ReadCells reads the rows of a batch that was cut apart, as those with an embedded Row need it.
func (p *Plan) ReadCells(cells *JSON, place func() unsafe.Pointer) (bad []Bad, err error) {
	for row := range cells.rows {
		at := place()
		if p.Rest >= 0 {
			*(*Row)(unsafe.Add(at, p.Rest)) = RowOf(cells, row)
		}
		void := ""
		for i := range p.Fields {
			field := &p.Fields[i]
			raw := cells.raw(row, field.Column.Name)
			if raw == "" || raw == "null" {
				if !field.nullable {
					void = field.Column.Name
				}
				continue
			}
			s := Scanner{Text: raw}
			field.read(&s, unsafe.Add(at, field.Offset))
			if s.Err != nil {
				return bad, fmt.Errorf("row %d: `%s`: %w", row, field.Column.Name, s.Err)
			}
			if s.Void != "" {
				void = field.Column.Name
			}
		}
		if void != "" {
			bad = append(bad, Bad{row, void})
		}
	}
	return bad, nil
}

// AppendJSON adds rows as an array of objects. next gives them one by one, nil at the end.
func (p *Plan) AppendJSON(dst []byte, schema types.Schema, next func() unsafe.Pointer) ([]byte, error) {
	kinds := make([]*types.Type, len(p.Fields))
	for i := range p.Fields {
		kinds[i] = &p.Fields[i].Column.Type
		if column, ok := schema.Column(p.Fields[i].Column.Name); ok {
			kind := p.Kind(i, column.Type)
			kinds[i] = &kind
		}
	}
	known := &memo{}
	dst = append(dst, '[')
	for count := 0; ; count++ {
		at := next()
		if at == nil {
			return append(dst, ']'), nil
		}
		if count > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		first := true
		if p.Rest >= 0 {
			before := len(dst)
			var err error
			if dst, err = (*Row)(unsafe.Add(at, p.Rest)).appendJSON(dst, p, &schema, known); err != nil {
				return dst, err
			}
			first = len(dst) == before
		}
		for i := range p.Fields {
			field := &p.Fields[i]
			dst = append(dst, field.lead(first)...)
			dst = field.write(dst, unsafe.Add(at, field.Offset), kinds[i])
			first = false
		}
		dst = append(dst, '}')
	}
}

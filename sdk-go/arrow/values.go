package arrow

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"dataflare.dev/sdk-go/internal/rows"
	"dataflare.dev/sdk-go/internal/types"
)

func wholeOf(given any) (int64, bool) {
	switch v := given.(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), true
	case int:
		return int64(v), true
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	}
	value := reflect.ValueOf(given)
	switch {
	case value.CanInt():
		return value.Int(), true
	case value.CanUint():
		return int64(value.Uint()), true
	}
	return 0, false
}

// inRange tells whether a whole number is one of a kind.
func inRange(n int64, given any, kind types.Kind) bool {
	if value := reflect.ValueOf(given); value.CanUint() && n < 0 {
		return kind == types.Uint64
	}
	width := uint(8) << ((kind - types.Int8) % 4)
	if kind >= types.Uint8 {
		return n >= 0 && (width == 64 || n < 1<<width)
	}
	return width == 64 || n >= -1<<(width-1) && n < 1<<(width-1)
}

func floatOf(given any) (float64, bool) {
	value := reflect.ValueOf(given)
	switch {
	case value.CanFloat():
		return value.Float(), true
	case value.CanInt():
		return float64(value.Int()), true
	case value.CanUint():
		return float64(value.Uint()), true
	}
	return 0, false
}

func decimalOf(given any) (string, bool) {
	if text, ok := given.(rows.Decimal); ok {
		return string(text), true
	}
	if n, ok := wholeOf(given); ok {
		return fmt.Sprint(n), true
	}
	return "", false
}

func textOf(given any, kind types.Kind) (string, bool) {
	switch v := given.(type) {
	case string:
		return v, kind.IsText()
	case []byte:
		return string(v), kind.IsBinary()
	}
	if value := reflect.ValueOf(given); value.Kind() == reflect.String {
		return value.String(), kind.IsText()
	}
	return "", false
}

// moment is the count of a date, a time, a duration, in the unit of the column.
func (b *builder) moment(given any) (int64, bool) {
	per := b.kind.Unit.PerSecond()
	switch v := given.(type) {
	case time.Time:
		switch b.kind.Kind {
		case types.Timestamp:
			return v.Unix()*per + int64(v.Nanosecond())/(1e9/per), true
		case types.Date32:
			return int64(rows.DateOf(v)), true
		case types.Date64:
			return int64(rows.DateOf(v)) * 86_400_000, true
		}
	case rows.Date:
		switch b.kind.Kind {
		case types.Date32:
			return int64(v), true
		case types.Date64:
			return int64(v) * 86_400_000, true
		}
	case time.Duration:
		return floorDiv(int64(v), 1e9/per), b.kind.Kind == types.Duration
	case rows.TimeOfDay:
		return int64(v) / (1e9 / per), b.kind.Kind == types.Time32 || b.kind.Kind == types.Time64
	}
	return 0, false
}

func (b *builder) encode(given any) error {
	if b.places == nil {
		b.places = map[string]int{}
	}
	key := fmt.Sprintf("%T %v", given, given)
	place, known := b.places[key]
	if !known {
		place = b.children[0].len
		if err := b.children[0].value(given); err != nil {
			return err
		}
		b.places[key] = place
	}
	if b.kind.Index < types.Int32 && place > 127 {
		return fmt.Errorf("a dictionary with indices of the type %s has too many values", types.Of(b.kind.Index))
	}
	b.whole(int64(place))
	return nil
}

func (b *builder) nested(given any, misfit func() error) error {
	switch v := given.(type) {
	case map[string]any:
		if b.kind.Kind != types.Struct {
			return misfit()
		}
		for i, column := range b.kind.Columns {
			if err := b.children[i].value(v[column.Name]); err != nil {
				return fmt.Errorf("`%s`: %w", column.Name, err)
			}
		}
		b.mark(true)
		return nil
	case []any:
		if !b.kind.Kind.IsList() || b.kind.Kind == types.FixedList && len(v) != b.kind.Width {
			return misfit()
		}
		for _, item := range v {
			if err := b.children[0].value(item); err != nil {
				return err
			}
		}
	case []rows.Pair:
		if b.kind.Kind != types.Map {
			return misfit()
		}
		for _, pair := range v {
			if err := b.children[0].value(pair.Key); err != nil {
				return err
			}
			if err := b.children[1].value(pair.Value); err != nil {
				return err
			}
		}
	default:
		plain, err := rows.Plain(given, b.kind)
		if err != nil {
			return misfit()
		}
		if plain == nil {
			b.null()
			return nil
		}
		return b.nested(plain, misfit)
	}
	b.mark(true)
	if b.hasOffsets() {
		b.endOffset(b.end())
	}
	return nil
}

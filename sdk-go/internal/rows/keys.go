package rows

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"dataflare.dev/sdk-go/internal/types"
)

// Keys are the canonical bytes of the key of each row: the same value gives the same bytes, whatever its column's width.
func Keys(cells Cells, columns []string) ([][]byte, error) {
	schema := cells.Schema()
	kinds := make([]types.Type, len(columns))
	for i, name := range columns {
		column, ok := schema.Column(name)
		if !ok && schema.Open {
			column.Type = types.Of(types.Other)
		} else if !ok {
			return nil, fmt.Errorf("there is no column `%s` to take the key from", name)
		}
		kinds[i] = column.Type.Plain()
	}
	keys := make([][]byte, cells.Len())
	buffer := make([]byte, 0, 16*len(keys))
	for row := range keys {
		start := len(buffer)
		for i, name := range columns {
			value, _ := cells.Value(row, name)
			var err error
			if buffer, err = AppendKey(buffer, value, kinds[i]); err != nil {
				return nil, fmt.Errorf("the column `%s`: %w", name, err)
			}
		}
		keys[row] = buffer[start:len(buffer):len(buffer)]
	}
	return keys, nil
}

// AppendKey adds a tag and the canonical bytes of one value.
func AppendKey(dst []byte, value any, kind types.Type) ([]byte, error) {
	little := binary.LittleEndian
	switch v := value.(type) {
	case nil:
		return append(dst, 0), nil
	case bool:
		if v {
			return append(dst, 1, 1), nil
		}
		return append(dst, 1, 0), nil
	case int64:
		return little.AppendUint64(append(dst, 2), uint64(v)), nil
	case uint64:
		if v > math.MaxInt64 {
			return little.AppendUint64(append(dst, 3), v), nil
		}
		return little.AppendUint64(append(dst, 2), v), nil
	case float64:
		bits := math.Float64bits(v)
		if v == 0 {
			bits = 0
		}
		if v != v {
			bits = 0x7ff8000000000000
		}
		return little.AppendUint64(append(dst, 4), bits), nil
	case Decimal:
		text := string(v)
		if strings.Contains(text, ".") {
			text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		}
		return sized(dst, 5, text), nil
	case string:
		return sized(dst, 6, v), nil
	case []byte:
		return sized(dst, 7, string(v)), nil
	case Date:
		return little.AppendUint64(append(dst, 8), uint64(int64(v))), nil
	case time.Time:
		tag := byte(10)
		if kind.Zone != "" {
			tag = 9
		}
		return moment(dst, tag, v.Unix()*1e6+int64(v.Nanosecond()/1e3), v.Nanosecond()%1e3), nil
	case TimeOfDay:
		return little.AppendUint64(append(dst, 11), uint64(v)), nil
	case time.Duration:
		micros, nanos := int64(v)/1e3, int64(v)%1e3
		if nanos < 0 {
			micros, nanos = micros-1, nanos+1e3
		}
		return moment(dst, 12, micros, int(nanos)), nil
	}
	return dst, fmt.Errorf("%s cannot be a key", kind)
}

func sized(dst []byte, tag byte, text string) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, tag), uint32(len(text)))
	return append(dst, text...)
}

func moment(dst []byte, tag byte, micros int64, nanos int) []byte {
	dst = binary.LittleEndian.AppendUint64(append(dst, tag), uint64(micros))
	return binary.LittleEndian.AppendUint16(dst, uint16(nanos))
}

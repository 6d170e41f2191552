package rows

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"dataflare.dev/sdk-go/internal/types"
)

const exact = 1<<53 - 1

// AppendInt adds a whole number: beyond 2^53 as a text, so that no reader rounds it.
func AppendInt(dst []byte, n int64) []byte {
	if n >= -exact && n <= exact {
		return strconv.AppendInt(dst, n, 10)
	}
	dst = append(dst, '"')
	return append(strconv.AppendInt(dst, n, 10), '"')
}

// AppendUint adds a whole number from zero on.
func AppendUint(dst []byte, n uint64) []byte {
	if n <= exact {
		return strconv.AppendUint(dst, n, 10)
	}
	dst = append(dst, '"')
	return append(strconv.AppendUint(dst, n, 10), '"')
}

// AppendFloat adds a floating number of so many bits.
func AppendFloat(dst []byte, n float64, bits int) []byte {
	switch {
	case math.IsNaN(n):
		return append(dst, `"NaN"`...)
	case math.IsInf(n, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(n, -1):
		return append(dst, `"-Infinity"`...)
	}
	form := byte('f')
	if size := math.Abs(n); size != 0 && (size < 1e-6 || size >= 1e21) {
		form = 'e'
	}
	return strconv.AppendFloat(dst, n, form, -1, bits)
}

const hexDigits = "0123456789abcdef"

// AppendString adds a text in quotes; bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(text[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(dst, text[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		dst = append(dst, text[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}

// AppendBytes adds bytes as base64.
func AppendBytes(dst, content []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, content)
	return append(dst, '"')
}

// AppendTime adds a time in this type of timestamps: with a zone in UTC, `Z` at its end.
func AppendTime(dst []byte, at time.Time, kind types.Type) []byte {
	at = at.UTC()
	dst = append(dst, '"')
	dst = at.AppendFormat(dst, "2006-01-02T15:04:05")
	dst = appendFraction(dst, int64(at.Nanosecond()), kind.Unit)
	if kind.Zone != "" {
		dst = append(dst, 'Z')
	}
	return append(dst, '"')
}

// AppendClock adds a time of day.
func AppendClock(dst []byte, at TimeOfDay, unit types.Unit) []byte {
	since := time.Duration(at)
	dst = append(dst, '"')
	dst = time.Unix(0, 0).UTC().Add(since).AppendFormat(dst, "15:04:05")
	dst = appendFraction(dst, int64(since%time.Second), unit)
	return append(dst, '"')
}

// AppendDuration adds a duration, as seconds in ISO 8601.
func AppendDuration(dst []byte, span time.Duration, unit types.Unit) []byte {
	dst = append(dst, '"')
	size := uint64(span)
	if span < 0 {
		dst = append(dst, '-')
		size = -size
	}
	dst = append(dst, "PT"...)
	dst = strconv.AppendUint(dst, size/1e9, 10)
	dst = appendFraction(dst, int64(size%1e9), unit)
	return append(dst, `S"`...)
}

// appendFraction adds what is below the second, in the digits of the unit, without zeros at the end.
func appendFraction(dst []byte, nanos int64, unit types.Unit) []byte {
	nanos -= nanos % (1e9 / unit.PerSecond())
	if nanos == 0 {
		return dst
	}
	digits := strconv.AppendInt(nil, 1e9+nanos, 10)[1:]
	for digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	return append(append(dst, '.'), digits...)
}

// AppendDate adds a date.
func AppendDate(dst []byte, date Date) []byte {
	dst = append(dst, '"')
	dst = date.Time().AppendFormat(dst, time.DateOnly)
	return append(dst, '"')
}

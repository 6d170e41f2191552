// Package rows turns batches into rows and back: JSON by the types of the columns, structs by their tags.
package rows

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Date is a day of the calendar: the days since 1970-01-01.
type Date int32

// DateOf is the day of a time, in its own zone.
func DateOf(at time.Time) Date {
	year, month, day := at.Date()
	return Date(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// Time is the day's begin in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

func (d Date) String() string { return d.Time().Format(time.DateOnly) }

// TimeOfDay is a time on the clock: what has passed since midnight.
type TimeOfDay time.Duration

func (t TimeOfDay) String() string {
	return time.Unix(0, 0).UTC().Add(time.Duration(t)).Format("15:04:05.999999999")
}

// Decimal is a decimal number as text, with all its digits: "1.50".
type Decimal string

// Float is the nearest floating number.
func (d Decimal) Float() (float64, error) { return strconv.ParseFloat(string(d), 64) }

func parseDate(text string) (Date, error) {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a date such as 2026-01-31", text)
	}
	return DateOf(at), nil
}

func parseTime(text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-01-31T12:30:00Z", text)
}

func parseClock(text string) (TimeOfDay, error) {
	at, err := time.Parse("15:04:05.999999999", text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time of day such as 12:30:00", text)
	}
	midnight := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	return TimeOfDay(at.Sub(midnight)), nil
}

func parseDuration(text string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(text, "-")
	rest, ok := strings.CutPrefix(rest, "PT")
	rest, end := strings.CutSuffix(rest, "S")
	whole, fraction, _ := strings.Cut(rest, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	nanos := int64(0)
	if err == nil && fraction != "" {
		nanos, err = strconv.ParseInt((fraction + "00000000")[:max(9, len(fraction))], 10, 64)
	}
	if !ok || !end || err != nil || seconds < 0 || nanos < 0 || nanos > 999_999_999 || seconds > 9_223_372_036 {
		return 0, fmt.Errorf("%q is not a duration such as PT1.5S", text)
	}
	span := time.Duration(seconds)*time.Second + time.Duration(nanos)
	if span < 0 {
		return 0, fmt.Errorf("%q is longer than 292 years", text)
	}
	if negative {
		span = -span
	}
	return span, nil
}

func parseBytes(text string) ([]byte, error) {
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not base64", text)
	}
	return content, nil
}

func parseDecimal(text string) (Decimal, error) {
	digits := strings.TrimPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || point && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", fmt.Errorf("%q is not a decimal number", text)
	}
	return Decimal(text), nil
}

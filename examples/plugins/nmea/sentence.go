package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Position is a row: where the receiver was, and how it moved. What a sentence does not tell is null.
type Position struct {
	Time       *time.Time `json:"time"`
	Talker     string     `json:"talker"`
	Sentence   string     `json:"sentence"`
	Latitude   float64    `json:"latitude" unit:"deg"`
	Longitude  float64    `json:"longitude" unit:"deg"`
	Altitude   *float64   `json:"altitude" unit:"m"`
	Speed      *float64   `json:"speed" unit:"m/s"`
	Course     *float64   `json:"course" unit:"deg"`
	Satellites *int       `json:"satellites"`
	Dilution   *float64   `json:"dilution"`
}

const knot = 1852.0 / 3600

// decoder turns sentences into positions. GGA has no date: it takes that of the last RMC.
type decoder struct {
	day time.Time
}

// decode gives the position in a sentence; nothing for other sentences, empty lines, and where there is no fix.
func (d *decoder) decode(line string, now time.Time) (*Position, error) {
	if line == "" {
		return nil, nil
	}
	fields, err := fieldsOf(line)
	if err != nil {
		return nil, err
	}
	name := fields[0]
	if len(name) != 5 {
		return nil, nil // proprietary
	}
	switch name[2:] {
	case "GGA":
		return d.gga(fields, now)
	case "RMC":
		return d.rmc(fields, now)
	}
	return nil, nil
}

// gga: time, latitude, N, longitude, E, quality, satellites, dilution, altitude, M, …
func (d *decoder) gga(fields []string, now time.Time) (*Position, error) {
	if len(fields) < 10 {
		return nil, fmt.Errorf("GGA has %d fields", len(fields)-1)
	}
	if fields[6] == "" || fields[6] == "0" {
		return nil, nil
	}
	made, err := place(fields[0], fields[2:6])
	if err != nil {
		return nil, err
	}
	day := d.day
	if day.IsZero() {
		day = now.UTC().Truncate(24 * time.Hour)
	}
	read := reader{}
	made.Time = read.time(fields[1], day)
	made.Satellites = read.whole(fields[7])
	made.Dilution = read.number(fields[8])
	made.Altitude = read.number(fields[9])
	return made, read.err
}

// rmc: time, status, latitude, N, longitude, E, speed, course, date, …
func (d *decoder) rmc(fields []string, _ time.Time) (*Position, error) {
	if len(fields) < 10 {
		return nil, fmt.Errorf("RMC has %d fields", len(fields)-1)
	}
	if fields[2] != "A" {
		return nil, nil
	}
	made, err := place(fields[0], fields[3:7])
	if err != nil {
		return nil, err
	}
	day, err := time.Parse("020106", fields[9])
	if err != nil {
		return nil, fmt.Errorf("%q is not a date", fields[9])
	}
	d.day = day
	read := reader{}
	made.Time = read.time(fields[1], day)
	made.Speed = read.number(fields[7])
	made.Course = read.number(fields[8])
	if made.Speed != nil {
		*made.Speed *= knot
	}
	return made, read.err
}

// fieldsOf cuts a sentence apart, once its sum is right.
func fieldsOf(line string) ([]string, error) {
	if line[0] != '$' && line[0] != '!' {
		return nil, fmt.Errorf("it does not begin with $")
	}
	body, told, found := strings.Cut(line[1:], "*")
	if !found {
		return nil, fmt.Errorf("it has no sum")
	}
	var sum byte
	for _, each := range []byte(body) {
		sum ^= each
	}
	if want := fmt.Sprintf("%02X", sum); !strings.EqualFold(told, want) {
		return nil, fmt.Errorf("its sum is %s, it says %q", want, told)
	}
	return strings.Split(body, ","), nil
}

// place reads latitude, N or S, longitude, E or W.
func place(name string, fields []string) (*Position, error) {
	latitude, err := degrees(fields[0], fields[1], 2, "N", "S", 90)
	if err != nil {
		return nil, err
	}
	longitude, err := degrees(fields[2], fields[3], 3, "E", "W", 180)
	if err != nil {
		return nil, err
	}
	return &Position{Talker: name[:2], Sentence: name[2:], Latitude: latitude, Longitude: longitude}, nil
}

// degrees reads 4916.45 as 49 degrees and 16.45 minutes.
func degrees(text, side string, whole int, positive, negative string, most float64) (float64, error) {
	if len(text) < whole+2 || (side != positive && side != negative) {
		return 0, fmt.Errorf("%q %q is no place", text, side)
	}
	full, err := strconv.ParseUint(text[:whole], 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no place", text)
	}
	minutes, err := strconv.ParseFloat(text[whole:], 64)
	if err != nil || !(minutes >= 0 && minutes < 60) {
		return 0, fmt.Errorf("%q is no place", text)
	}
	value := float64(full) + minutes/60
	if value > most {
		return 0, fmt.Errorf("%q is no place", text)
	}
	if side == negative {
		value = -value
	}
	return math.Round(value*1e7) / 1e7, nil
}

// reader reads fields that may be empty, and keeps the first error.
type reader struct{ err error }

func (r *reader) number(text string) *float64 {
	if text == "" {
		return nil
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		r.fail(text, "a number")
		return nil
	}
	return &value
}

func (r *reader) whole(text string) *int {
	if text == "" {
		return nil
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		r.fail(text, "a whole number")
		return nil
	}
	return &value
}

func (r *reader) time(text string, day time.Time) *time.Time {
	if text == "" {
		return nil
	}
	at, err := time.Parse("150405.999999999", text)
	if err != nil {
		r.fail(text, "a time")
		return nil
	}
	full := day.Add(at.Sub(at.Truncate(24 * time.Hour)))
	return &full
}

func (r *reader) fail(text, what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%q is not %s", text, what)
	}
}

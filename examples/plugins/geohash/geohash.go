package main

import (
	"math"
	"strings"
)

const (
	alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"
	longest  = 12
	metres   = 111_195.0 // a degree of latitude
)

// Box is what a geohash names.
type Box struct{ South, North, West, East float64 }

// Middle is its middle.
func (b Box) Middle() (latitude, longitude float64) {
	return (b.South + b.North) / 2, (b.West + b.East) / 2
}

// Radius is how far from the middle its corners are, in metres.
func (b Box) Radius() float64 {
	latitude, _ := b.Middle()
	high := (b.North - b.South) / 2 * metres
	wide := (b.East - b.West) / 2 * metres * math.Cos(latitude*math.Pi/180)
	return math.Round(math.Hypot(high, wide)*1000) / 1000
}

// Encode gives the geohash of a place: bits of longitude and latitude in turn, five to a character.
func Encode(latitude, longitude float64, length int) string {
	var made [longest]byte
	box, east := Box{-90, 90, -180, 180}, true
	for i := range length {
		value := 0
		for range 5 {
			value <<= 1
			if box.halve(east, latitude, longitude) {
				value |= 1
			}
			east = !east
		}
		made[i] = alphabet[value]
	}
	return string(made[:length])
}

// Decode gives what a geohash names.
func Decode(geohash string) (Box, bool) {
	box, east := Box{-90, 90, -180, 180}, true
	if geohash == "" || len(geohash) > longest {
		return box, false
	}
	for _, character := range []byte(strings.ToLower(geohash)) {
		value := strings.IndexByte(alphabet, character)
		if value < 0 {
			return box, false
		}
		for bit := 4; bit >= 0; bit-- {
			box.take(east, value>>bit&1 == 1)
			east = !east
		}
	}
	return box, true
}

// halve keeps the half that a place is in, and tells whether that is the upper one.
func (b *Box) halve(east bool, latitude, longitude float64) bool {
	middleLatitude, middleLongitude := b.Middle()
	upper := latitude >= middleLatitude
	if east {
		upper = longitude >= middleLongitude
	}
	b.take(east, upper)
	return upper
}

func (b *Box) take(east, upper bool) {
	latitude, longitude := b.Middle()
	switch {
	case east && upper:
		b.West = longitude
	case east:
		b.East = longitude
	case upper:
		b.South = latitude
	default:
		b.North = latitude
	}
}

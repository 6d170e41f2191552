package main

import (
	"math"

	"dataflare.dev/sdk-go"
)

func init() {
	dataflare.Map("encode", "Add the column `geohash` to rows with `latitude` and `longitude`; no place on Earth is rejected.",
		encode)
	dataflare.Map("decode", "Add `latitude` and `longitude`, the middle of what `geohash` names, and `radius` in metres.",
		decode)
}

type encoding struct {
	Length int `json:"length" default:"9" min:"1" max:"12" doc:"Characters: 5 are about 5 km, 7 about 150 m, 9 about 5 m."`
}

type position struct {
	Latitude  *float64 `json:"latitude"`
	Longitude *float64 `json:"longitude"`
	dataflare.Row
}

type located struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Geohash   string  `json:"geohash"`
	dataflare.Row
}

func encode(_ dataflare.Context, config encoding, given position) (located, error) {
	if given.Latitude == nil || given.Longitude == nil {
		return located{}, dataflare.Reject("geohash.no_place", "`latitude` or `longitude` is null")
	}
	latitude, longitude := *given.Latitude, *given.Longitude
	if !(math.Abs(latitude) <= 90) || !(math.Abs(longitude) <= 180) {
		return located{}, dataflare.Reject("geohash.no_place", "%g, %g is not on Earth", latitude, longitude)
	}
	return located{latitude, longitude, Encode(latitude, longitude, config.Length), given.Row}, nil
}

type named struct {
	Geohash *string `json:"geohash"`
	dataflare.Row
}

type area struct {
	Geohash   string  `json:"geohash"`
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Radius    float64 `json:"radius" unit:"m"`
	dataflare.Row
}

func decode(_ dataflare.Context, _ struct{}, given named) (area, error) {
	if given.Geohash == nil {
		return area{}, dataflare.Reject("geohash.none", "`geohash` is null")
	}
	box, ok := Decode(*given.Geohash)
	if !ok {
		return area{}, dataflare.Reject("geohash.none", "%q is not a geohash", *given.Geohash)
	}
	latitude, longitude := box.Middle()
	return area{*given.Geohash, latitude, longitude, box.Radius(), given.Row}, nil
}

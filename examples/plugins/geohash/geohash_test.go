package main

import (
	"strings"
	"testing"
)

func TestKnownPlaces(t *testing.T) {
	for _, each := range []struct {
		latitude, longitude float64
		want                string
	}{
		{57.64911, 10.40744, "u4pruydqqvj"},
		{48.8566, 2.3522, "u09tvw0f6"},
		{-33.8688, 151.2093, "r3gx2f77b"},
		{0, 0, "s00000000"},
		{90, 180, "zzzzzzzzz"},
		{-90, -180, "000000000"},
	} {
		if made := Encode(each.latitude, each.longitude, len(each.want)); made != each.want {
			t.Errorf("%v, %v: got %s, want %s", each.latitude, each.longitude, made, each.want)
		}
	}
}

func TestWhatIsDecodedHoldsThePlace(t *testing.T) {
	for latitude := -90.0; latitude <= 90; latitude += 7.3 {
		for longitude := -180.0; longitude <= 180; longitude += 11.1 {
			for length := 1; length <= longest; length++ {
				geohash := Encode(latitude, longitude, length)
				box, ok := Decode(strings.ToUpper(geohash))
				if !ok || latitude < box.South || latitude > box.North || longitude < box.West || longitude > box.East {
					t.Fatalf("%v, %v is not in %s: %+v", latitude, longitude, geohash, box)
				}
			}
		}
	}
}

func TestWhatIsNoGeohash(t *testing.T) {
	for _, text := range []string{"", "a", "u4pruydqqvjaa", "u4 pr", "é"} {
		if box, ok := Decode(text); ok {
			t.Errorf("%q is %+v", text, box)
		}
	}
}

package main

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestASentenceBecomesAPosition(t *testing.T) {
	var d decoder
	rmc, err := d.decode("$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A", now)
	if err != nil || rmc == nil {
		t.Fatal(rmc, err)
	}
	if rmc.Latitude != 48.1173 || rmc.Longitude != 11.5166667 || math.Abs(*rmc.Speed-11.5236) > 1e-3 {
		t.Errorf("got %+v", *rmc)
	}
	gga, err := d.decode("$GPGGA,123520.5,4807.038,N,01131.000,W,1,08,0.9,545.4,M,46.9,M,,*44", now)
	if err != nil || gga == nil {
		t.Fatal(gga, err)
	}
	if want := time.Date(1994, 3, 23, 12, 35, 20, 5e8, time.UTC); !gga.Time.Equal(want) {
		t.Errorf("it is %v, the day of the RMC sentence has %v", gga.Time, want)
	}
	if gga.Longitude != -11.5166667 || *gga.Satellites != 8 || *gga.Altitude != 545.4 || gga.Speed != nil {
		t.Errorf("got %+v", *gga)
	}
}

func TestWhatTellsNothingIsLeftOut(t *testing.T) {
	for _, line := range []string{"", summed("GPRMC,123519,V,,,,,,,230394,,"), summed("GPGSV,1,1,00"), summed("PGRMZ,1,f")} {
		var d decoder
		if made, err := d.decode(line, now); made != nil || err != nil {
			t.Errorf("%q: got %+v, %v", line, made, err)
		}
	}
}

func TestWhatIsDamagedIsRefused(t *testing.T) {
	good := "GPGGA,123520,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
	for _, line := range []string{
		"$" + good + "*00", "$" + good, good, summed("GPGGA,1"), summed("GPRMC,1"),
		summed(strings.Replace(good, "4807.038", "9907.038", 1)), summed(strings.Replace(good, "4807", "4861", 1)),
		summed(strings.Replace(good, "N", "X", 1)), summed(strings.Replace(good, "545.4", "high", 1)),
		summed(strings.Replace(good, "123520", "996060", 1)), summed(strings.Replace(good, "545.4", "NaN", 1)),
	} {
		var d decoder
		if made, err := d.decode(line, now); err == nil {
			t.Errorf("%q: got %+v", line, made)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("GPGGA,123520,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,")
	f.Fuzz(func(t *testing.T, body string) {
		var d decoder
		made, err := d.decode(summed(body), now)
		if err == nil && made != nil && (math.Abs(made.Latitude) > 90 || math.Abs(made.Longitude) > 180) {
			t.Errorf("%q is at %v, %v", body, made.Latitude, made.Longitude)
		}
	})
}

func summed(body string) string {
	var sum byte
	for _, each := range []byte(body) {
		sum ^= each
	}
	return fmt.Sprintf("$%s*%02X", body, sum)
}

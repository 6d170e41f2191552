module dataflare_nmea

go 1.26

require dataflare.dev/sdk-go v1.0.0

replace dataflare.dev/sdk-go => ../../../sdk-go

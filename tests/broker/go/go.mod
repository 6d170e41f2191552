module outside

go 1.26

require dataflare.dev/sdk-go v0.0.0

replace dataflare.dev/sdk-go => ../../../sdk-go

module dataflare.dev/sdk-go

go 1.26

//go:build wasip1 && extism

package dataflare

import "encoding/binary"

// The exports of an Extism module: `go build -tags extism`. The same frames are input and output of dataflare_call. Such
// a plugin has nobody to ask: no state, no requests, no secrets.

var serving *Guest

// call answers the request that is the input.
//
//go:wasmexport dataflare_call
func call() int32 {
	if serving == nil {
		serving = NewGuest(nobody)
	}
	give(serving.Answer(take()))
	return 0
}

func nobody([]byte) ([]byte, error) {
	return nil, problem("fatal", "guest.no_host", "an Extism module has nobody to ask")
}

// take copies the input, eight bytes a call: Extism's memory is not the module's.
func take() []byte {
	given := make([]byte, inputLength())
	at := 0
	for ; at+8 <= len(given); at += 8 {
		binary.LittleEndian.PutUint64(given[at:], inputLoad64(uint64(at)))
	}
	for ; at < len(given); at++ {
		given[at] = byte(inputLoad8(uint64(at)))
	}
	return given
}

func give(answer []byte) {
	block, at := alloc(uint64(len(answer))), 0
	for ; at+8 <= len(answer); at += 8 {
		store64(block+uint64(at), binary.LittleEndian.Uint64(answer[at:]))
	}
	for ; at < len(answer); at++ {
		store8(block+uint64(at), uint32(answer[at]))
	}
	outputSet(block, uint64(len(answer)))
}

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env input_load_u8
func inputLoad8(at uint64) uint32

//go:wasmimport extism:host/env input_load_u64
func inputLoad64(at uint64) uint64

//go:wasmimport extism:host/env alloc
func alloc(size uint64) uint64

//go:wasmimport extism:host/env store_u8
func store8(at uint64, value uint32)

//go:wasmimport extism:host/env store_u64
func store64(at, value uint64)

//go:wasmimport extism:host/env output_set
func outputSet(at, length uint64)

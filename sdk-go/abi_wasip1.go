//go:build wasip1 && !extism

package dataflare

import (
	"unsafe"

	"dataflare.dev/sdk-go/internal/frame"
)

// The exports of a plugin as a WASM module: docs/guest-protocol.md, "In a WASM module".

var (
	given   []byte // requests are written here by the host
	serving *Guest
)

//go:wasmexport dataflare_abi
func abi() int32 { return Protocol }

// reserve gives room for a request; the host writes there before it calls.
//
//go:wasmexport dataflare_reserve
func reserve(size int32) unsafe.Pointer {
	if size < 0 || int(size) > frame.MaxHeader+frame.MaxPayload {
		return nil
	}
	if cap(given) < int(size) {
		given = make([]byte, size)
	}
	return unsafe.Pointer(unsafe.SliceData(given[:cap(given)]))
}

//go:wasmexport dataflare_call
func call(length int32) int64 {
	if serving == nil {
		serving = NewGuest(askHost)
	}
	size := max(0, min(int(length), cap(given)))
	answered := serving.Answer(given[:size:size])
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(answered))))<<32 | int64(len(answered))
}

//go:wasmimport dataflare host_call
func hostCall(question unsafe.Pointer, length int32) int32

//go:wasmimport dataflare host_read
func hostRead(into unsafe.Pointer)

func askHost(question []byte) ([]byte, error) {
	length := hostCall(unsafe.Pointer(unsafe.SliceData(question)), int32(len(question)))
	if length < 0 {
		return nil, problem("fatal", "guest.host_gone", "the host does not answer")
	}
	told := make([]byte, max(length, 1))
	hostRead(unsafe.Pointer(unsafe.SliceData(told)))
	return told[:length], nil
}

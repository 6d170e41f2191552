// Package frame packs and reads frames: u32 header length (little-endian), a JSON object, the payload's parts.
package frame

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxHeader and MaxPayload are the most bytes that a frame's header and payload may have.
const (
	MaxHeader  = 1 << 20
	MaxPayload = 1 << 30
)

// Broken is the error of bytes that are not a frame.
type Broken struct{ Cause string }

func (b *Broken) Error() string { return "what was sent is not a frame: " + b.Cause }

func broken(format string, a ...any) error { return &Broken{fmt.Sprintf(format, a...)} }

// Append adds a frame to dst: header is a JSON object, to which the parts' sizes are added.
func Append(dst []byte, header any, parts [][]byte) ([]byte, error) {
	text, err := json.Marshal(header)
	if err != nil {
		return dst, err
	}
	if len(text) < 2 || text[0] != '{' {
		return dst, errors.New("a frame's header is a JSON object")
	}
	sizes := []byte(`"parts":[`)
	total := 0
	for i, part := range parts {
		if i > 0 {
			sizes = append(sizes, ',')
		}
		sizes = fmt.Append(sizes, len(part))
		total += len(part)
	}
	sizes = append(sizes, "]}"...)
	length := len(text) - 1 + len(sizes)
	if text[1] != '}' {
		length++
	}
	if length > MaxHeader {
		return dst, broken("the header has %d bytes, more than %d", length, MaxHeader)
	}
	if total > MaxPayload {
		return dst, broken("the payload has %d bytes, more than %d", total, MaxPayload)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(length))
	dst = append(dst, text[:len(text)-1]...)
	if text[1] != '}' {
		dst = append(dst, ',')
	}
	dst = append(dst, sizes...)
	for _, part := range parts {
		dst = append(dst, part...)
	}
	return dst, nil
}

// Unpack cuts apart the frame in these bytes, which it fills whole. The parts share the memory of given.
func Unpack(given []byte) (header []byte, parts [][]byte, err error) {
	if len(given) < 4 {
		return nil, nil, broken("it is shorter than the length of its header")
	}
	length := int(binary.LittleEndian.Uint32(given))
	if length > MaxHeader || 4+length > len(given) {
		return nil, nil, broken("it names a header of %d bytes and has %d", length, len(given)-4)
	}
	header = given[4 : 4+length]
	sizes, total, err := sizesOf(header)
	if err != nil {
		return nil, nil, err
	}
	payload := given[4+length:]
	if total != len(payload) {
		return nil, nil, broken("its parts are %d bytes, behind the header are %d", total, len(payload))
	}
	return header, cut(payload, sizes), nil
}

// Read takes the next frame of a stream. io.EOF: the stream has ended before it.
func Read(stream io.Reader) (header []byte, parts [][]byte, err error) {
	var first [4]byte
	if _, err := io.ReadFull(stream, first[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil, broken("it ends within the length of its header")
		}
		return nil, nil, err
	}
	length := binary.LittleEndian.Uint32(first[:])
	if length > MaxHeader {
		return nil, nil, broken("it names a header of %d bytes, more than %d", length, MaxHeader)
	}
	if header, err = exactly(stream, int(length)); err != nil {
		return nil, nil, err
	}
	sizes, total, err := sizesOf(header)
	if err != nil {
		return nil, nil, err
	}
	payload, err := exactly(stream, total)
	if err != nil {
		return nil, nil, err
	}
	return header, cut(payload, sizes), nil
}

// exactly reads in steps, so that a frame that only claims to be large costs nothing.
func exactly(stream io.Reader, size int) ([]byte, error) {
	var got bytes.Buffer
	n, err := io.CopyN(&got, stream, int64(size))
	if err != nil {
		return nil, broken("it ends after %d of %d bytes", n, size)
	}
	return got.Bytes(), nil
}

func sizesOf(header []byte) ([]int, int, error) {
	var told struct {
		Parts []int `json:"parts"`
	}
	if trimmed := bytes.TrimLeft(header, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, 0, broken("its header is not a JSON object")
	}
	if err := json.Unmarshal(header, &told); err != nil {
		return nil, 0, broken("its header is not as it should be: %v", err)
	}
	total := 0
	for _, size := range told.Parts {
		if size < 0 || size > MaxPayload {
			return nil, 0, broken("`parts` has a size of %d", size)
		}
		if total += size; total > MaxPayload {
			return nil, 0, broken("the payload has more than %d bytes", MaxPayload)
		}
	}
	return told.Parts, total, nil
}

func cut(payload []byte, sizes []int) [][]byte {
	parts := make([][]byte, len(sizes))
	at := 0
	for i, size := range sizes {
		parts[i] = payload[at : at+size : at+size]
		at += size
	}
	return parts
}

// Join is a frame as bytes again, of a header that names its parts already.
func Join(header []byte, parts [][]byte) []byte {
	joined := binary.LittleEndian.AppendUint32(nil, uint32(len(header)))
	joined = append(joined, header...)
	for _, part := range parts {
		joined = append(joined, part...)
	}
	return joined
}

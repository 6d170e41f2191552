package dataflare

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"dataflare.dev/sdk-go/internal/frame"
)

// Serve answers the frames of a host over standard input and output, until the input ends. It is what main of a plugin
// calls. What a plugin prints goes to standard error. In a WASM module nobody calls main: the host calls the exports.
func Serve() {
	answers := os.Stdout
	os.Stdout = os.Stderr
	if err := ServeOn(os.Stdin, answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ServeOn answers the frames that come on in, until it ends.
func ServeOn(in io.Reader, out io.Writer) error {
	requests := bufio.NewReaderSize(in, 1<<16)
	ended := false
	guest := NewGuest(func(question []byte) ([]byte, error) {
		if _, err := out.Write(question); err != nil {
			return nil, err
		}
		header, parts, err := frame.Read(requests)
		if err != nil {
			ended = true
			return nil, problem("fatal", "guest.host_gone", "the host has gone")
		}
		return frame.Join(header, parts), nil
	})
	defer guest.Close()
	for !ended {
		header, parts, err := frame.Read(requests)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(guest.pack(guest.answer(header, parts, nil))); err != nil {
			return err
		}
	}
	return nil
}

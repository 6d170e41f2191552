// Command outside is a plugin whose tools ask services and read inputs.
package main

import (
	"errors"
	"io"
	"time"

	"dataflare.dev/sdk-go"
)

type none struct{}

// Question says what to ask a service.
type Question struct {
	URL     string            `json:"url"`
	Method  string            `json:"method,omitempty"`
	Body    string            `json:"body,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// Told is what it answered.
type Told struct {
	Status  int               `json:"status"`
	Text    string            `json:"text"`
	Headers map[string]string `json:"headers"`
}

// Name is the name of an input.
type Name struct {
	Name string `json:"name"`
}

func init() {
	dataflare.Tool("ask", "Asks a service.", ask)
	dataflare.Tool("all-of", "All of an input, to its end.", allOf)
}

func ask(ctx dataflare.Context, _ none, in Question) (Told, error) {
	request := dataflare.Request{Method: in.Method, URL: in.URL, Headers: in.Headers}
	if in.Body != "" {
		request.Body = []byte(in.Body)
	}
	answer, err := ctx.HTTP().Do(request)
	if err != nil {
		return Told{}, err
	}
	return Told{answer.Status, string(answer.Body), answer.Headers}, nil
}

func allOf(ctx dataflare.Context, _ none, in Name) (string, error) {
	input, all := ctx.Input(in.Name), []byte{}
	for {
		given, err := input.Receive(10, 5*time.Second)
		if errors.Is(err, io.EOF) {
			return string(all), nil
		}
		if err != nil {
			return "", err
		}
		all = append(all, given...)
	}
}

func main() {}

package dataflare

import (
	"io"
	"time"
)

func (s *surroundings) HTTP() HTTP { return broker{s} }

func (s *surroundings) Input(name string) Input { return &input{ctx: s, name: name} }

// broker sends requests through the host.
type broker struct{ ctx *surroundings }

func (b broker) Do(request Request) (*Response, error) {
	told := words{"method": request.Method, "url": request.URL, "headers": request.Headers}
	if request.Method == "" {
		told["method"] = "GET"
	}
	if request.Headers == nil {
		told["headers"] = map[string]string{}
	}
	if request.Timeout > 0 {
		told["timeout"] = request.Timeout.Seconds()
	}
	var parts [][]byte
	if request.Body != nil {
		told["part"] = 0
		parts = [][]byte{request.Body}
	}
	var answer struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Part    *int              `json:"part"`
	}
	got, err := b.ctx.ask("http", told, &answer, parts...)
	if err != nil {
		return nil, err
	}
	response := &Response{Status: answer.Status, Headers: answer.Headers}
	if answer.Part != nil {
		if *answer.Part < 0 || *answer.Part >= len(got) {
			return nil, badFrame("the answer to `http` has no part %d", *answer.Part)
		}
		response.Body = got[*answer.Part]
	}
	return response, nil
}

// input is an input that the host owns.
type input struct {
	ctx   *surroundings
	name  string
	ended bool
}

func (i *input) Receive(max int, wait time.Duration) ([]byte, error) {
	if i.ended {
		return nil, io.EOF
	}
	var answer struct {
		Part *int `json:"part"`
		End  bool `json:"end"`
	}
	got, err := i.ctx.ask("input", words{"name": i.name, "max": max, "wait": wait.Seconds()}, &answer)
	if err != nil {
		return nil, err
	}
	i.ended = answer.End
	if answer.Part != nil && *answer.Part >= 0 && *answer.Part < len(got) && len(got[*answer.Part]) > 0 {
		return got[*answer.Part], nil
	}
	if answer.End {
		return nil, io.EOF
	}
	return nil, nil
}

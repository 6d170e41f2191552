package dataflare

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// Problem is one thing that is wrong: what a person reads of an error. Code is dotted and stable; Kind is "config",
// "retry", "reject" or "fatal".
type Problem struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Kind    string         `json:"kind"`
	Pointer string         `json:"pointer,omitempty"` // a JSON pointer into the configuration
	Cause   string         `json:"cause,omitempty"`
	Fix     string         `json:"fix,omitempty"`
	Details map[string]any `json:"details,omitempty"`
}

func (p *Problem) Error() string {
	text := p.Code + ": " + p.Message
	if p.Cause != "" {
		text += " (" + p.Cause + ")"
	}
	return text
}

// ErrSkip is returned by the function of a Map to drop a row.
var ErrSkip = errors.New("dataflare: skip this row")

// Reject refuses a row: it becomes a dead letter, and the flow goes on. From a function that takes a batch it refuses
// the whole batch; Batch.Reject refuses single rows.
func Reject(code, format string, a ...any) error {
	return &Problem{Code: code, Message: fmt.Sprintf(format, a...), Kind: "reject"}
}

// Invalid is the error of a field of the configuration: name is that of the field, or a JSON pointer.
func Invalid(name, format string, a ...any) error {
	if name != "" && !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	return &Problem{Code: "config.value", Message: fmt.Sprintf(format, a...), Kind: "config", Pointer: name}
}

// Retry asks to be called again after a while: the target is busy, a limit is reached.
func Retry(after time.Duration, cause error) error { return &later{after: after, cause: cause} }

// RetryRows is Retry for the writes of a sink: only the rows for which again is true are still to do.
func RetryRows(after time.Duration, cause error, again []bool) error {
	return &later{after: after, cause: cause, rows: again}
}

type later struct {
	after time.Duration
	cause error
	rows  []bool
}

func (l *later) Error() string {
	if l.cause == nil {
		return fmt.Sprintf("not now: again in %s", l.after)
	}
	return l.cause.Error()
}

func (l *later) Unwrap() error { return l.cause }

// idle is what a Reader returns while it has no rows.
type idle struct {
	after time.Duration
	moved bool
}

func (i *idle) Error() string { return fmt.Sprintf("idle: no rows now, look again in %s", i.after) }

// Idle is returned by Reader.Next when there are no rows now: it is called again after a while, with the same position.
func Idle(after time.Duration) error { return &idle{after: after} }

// IdleAt is Idle, and the position that is returned with it counts: all up to it is done.
func IdleAt(after time.Duration) error { return &idle{after: after, moved: true} }

// ErrUnsupported is returned by what a component need not be able to do, such as Readback.
var ErrUnsupported = &Problem{Code: "guest.operation", Message: "it has no such operation", Kind: "config"}

func problem(kind, code, format string, a ...any) *Problem {
	return &Problem{Code: code, Message: fmt.Sprintf(format, a...), Kind: kind}
}

func badFrame(format string, a ...any) *Problem {
	return &Problem{Code: "guest.frame", Message: "what was sent is not a frame", Cause: fmt.Sprintf(format, a...), Kind: "fatal"}
}

// problemsOf is an error as problems, those that errors.Join joined each by itself.
func problemsOf(err error) []*Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var found []*Problem
		for _, each := range joined.Unwrap() {
			found = append(found, problemsOf(each)...)
		}
		return found
	}
	return []*Problem{problemOf(err)}
}

func problemOf(err error) *Problem {
	if wait, ok := errors.AsType[*later](err); ok {
		made := &Problem{Code: "step.retry", Message: wait.Error(), Kind: "retry"}
		return made
	}
	if known, ok := errors.AsType[*Problem](err); ok {
		if text := err.Error(); text != known.Error() {
			copied := *known
			copied.Message = strings.TrimPrefix(text, known.Code+": ")
			return &copied
		}
		return known
	}
	return &Problem{Code: "step.failed", Message: err.Error(), Kind: "fatal"}
}

// panicked makes an error of a panic, with the stack below it.
func panicked(recovered any) error {
	if known, ok := recovered.(*Problem); ok {
		return known
	}
	stack := string(debug.Stack())
	if _, below, ok := strings.Cut(stack, "panic("); ok {
		stack = "panic(" + below
	}
	if len(stack) > 8<<10 {
		stack = stack[:8<<10] + "…"
	}
	return &Problem{Code: "step.failed", Message: fmt.Sprintf("panic: %v", recovered), Cause: stack, Kind: "fatal"}
}

// failure is the header that tells of an error.
func failure(err error) map[string]any {
	problems := problemsOf(err)
	told := map[string]any{"error": problems[0]}
	if wait, ok := errors.AsType[*later](err); ok {
		told["after"] = wait.after.Seconds()
		if wait.rows != nil {
			told["retry_rows"] = wait.rows
		}
	} else if problems[0].Kind != "reject" {
		told["problems"] = problems
	}
	return told
}

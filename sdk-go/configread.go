package dataflare

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// read fills a configuration. Each wrong field is a problem of its own.
func (s *settings) read(given json.RawMessage) (any, error) {
	made := reflect.New(s.kind).Elem()
	var wrong []*Problem
	s.fill(made, given, "", &wrong)
	if len(wrong) > 0 {
		errs := make([]error, len(wrong))
		for i, each := range wrong {
			errs[i] = each
		}
		return nil, joined(errs)
	}
	return made.Interface(), nil
}

// joined is several errors, told as several problems.
type joined []error

func (j joined) Unwrap() []error { return j }

func (j joined) Error() string {
	texts := make([]string, len(j))
	for i, each := range j {
		texts[i] = each.Error()
	}
	return strings.Join(texts, "\n")
}

func (s *settings) fill(into reflect.Value, given json.RawMessage, pointer string, wrong *[]*Problem) {
	members := map[string]json.RawMessage{}
	if len(given) > 0 && string(given) != "null" {
		if err := json.Unmarshal(given, &members); err != nil {
			*wrong = append(*wrong, misfit(pointer, "a mapping", given))
			return
		}
	}
	for i := range s.fields {
		field := &s.fields[i]
		place := pointer + "/" + strings.ReplaceAll(strings.ReplaceAll(field.name, "~", "~0"), "/", "~1")
		value, ok := members[field.name]
		delete(members, field.name)
		if string(value) == "null" && !field.required {
			ok = false // as if it were left out
		}
		switch {
		case ok:
			field.set(into, value, place, wrong)
		case field.fallback != nil:
			field.set(into, field.fallback, place, wrong)
		case field.required:
			*wrong = append(*wrong, &Problem{
				Code: "config.missing", Message: fmt.Sprintf("`%s` is missing", field.name), Kind: "config",
				Pointer: place, Fix: fmt.Sprintf("add `%s`", field.name),
			})
		case field.inner != nil && field.kind.Kind() == reflect.Struct:
			field.inner.fill(into.FieldByIndex(field.index), nil, place, wrong)
		}
	}
	for name := range members {
		names := make([]string, len(s.fields))
		for i := range s.fields {
			names[i] = "`" + s.fields[i].name + "`"
		}
		*wrong = append(*wrong, &Problem{
			Code: "config.unknown_field", Message: fmt.Sprintf("there is no field `%s`", name), Kind: "config",
			Pointer: pointer + "/" + name, Cause: "known fields are " + strings.Join(names, ", "), Fix: fmt.Sprintf("remove `%s`", name),
		})
	}
}

func misfit(pointer, expected string, given json.RawMessage) *Problem {
	shown := string(given)
	if len(shown) > 60 {
		shown = shown[:57] + "..."
	}
	name := pointer[strings.LastIndex(pointer, "/")+1:]
	return &Problem{
		Code: "config.type", Message: fmt.Sprintf("`%s` must be %s", name, expected), Kind: "config", Pointer: pointer,
		Cause: "it is " + shown, Fix: "write " + expected,
	}
}

func (s *setting) set(into reflect.Value, given json.RawMessage, pointer string, wrong *[]*Problem) {
	target := into.FieldByIndex(s.index)
	if target.Kind() == reflect.Pointer {
		if string(given) == "null" {
			return
		}
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	if s.inner != nil {
		s.inner.fill(target, given, pointer, wrong)
		return
	}
	before := len(*wrong)
	fill(target, given, pointer, wrong)
	if len(*wrong) == before {
		s.bounds(target, given, pointer, wrong)
	}
}

// fill reads one value. Numbers may be texts of digits, as `${env:N}` gives them.
func fill(target reflect.Value, given json.RawMessage, pointer string, wrong *[]*Problem) {
	fail := func(expected string) { *wrong = append(*wrong, misfit(pointer, expected, given)) }
	text, isText := "", len(given) > 0 && given[0] == '"'
	if isText && json.Unmarshal(given, &text) != nil {
		fail("a text")
		return
	}
	switch target.Type() {
	case typeSecret:
		if !isText {
			*wrong = append(*wrong, &Problem{Code: "config.type", Message: "a secret must be a text", Kind: "config", Pointer: pointer})
			return
		}
		target.Set(reflect.ValueOf(Secret{text}))
		return
	case typeDuration:
		span, err := parseSpan(given, text)
		if err != nil {
			fail("a duration such as 500ms, 1s, 2m or 1h")
			return
		}
		target.SetInt(int64(span))
		return
	case typeBytes:
		size, err := parseSize(given, text)
		if err != nil {
			fail("a size such as 16MiB, 1MB or 4096")
			return
		}
		target.SetInt(size)
		return
	case typeColumns:
		if isText {
			target.Set(reflect.ValueOf(Columns{text}))
			return
		}
	case typeTime, typeRawJSON:
		if json.Unmarshal(given, target.Addr().Interface()) != nil {
			fail("a time such as 2026-01-31T12:00:00Z")
		}
		return
	}
	if _, ok := target.Addr().Interface().(json.Unmarshaler); ok {
		if err := json.Unmarshal(given, target.Addr().Interface()); err != nil {
			*wrong = append(*wrong, &Problem{Code: "config.value", Message: err.Error(), Kind: "config", Pointer: pointer})
		}
		return
	}
	plain := string(given)
	if isText {
		plain = text
	}
	switch kind := target.Kind(); kind {
	case reflect.Bool:
		set, err := strconv.ParseBool(plain)
		if err != nil || plain != "true" && plain != "false" {
			fail("true or false")
		}
		target.SetBool(set)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(plain, 10, 64)
		if f, floating := strconv.ParseFloat(plain, 64); err != nil && floating == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			n, err = int64(f), nil
		}
		if err != nil || target.OverflowInt(n) {
			fail("a whole number")
			return
		}
		target.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(plain, 10, 64)
		if err != nil || target.OverflowUint(n) {
			fail("a whole number from 0 on")
			return
		}
		target.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(plain, 64)
		if err != nil || plain == "" {
			fail("a number")
			return
		}
		target.SetFloat(n)
	case reflect.String:
		if !isText {
			fail("a text")
			return
		}
		target.SetString(text)
	case reflect.Slice:
		fillList(target, given, pointer, wrong)
	case reflect.Map:
		fillMap(target, given, pointer, wrong)
	case reflect.Struct:
		settingsOf(target.Type()).fill(target, given, pointer, wrong)
	case reflect.Pointer:
		if string(given) != "null" {
			target.Set(reflect.New(target.Type().Elem()))
			fill(target.Elem(), given, pointer, wrong)
		}
	case reflect.Interface:
		if json.Unmarshal(given, target.Addr().Interface()) != nil {
			fail("a value")
		}
	}
}

func fillList(target reflect.Value, given json.RawMessage, pointer string, wrong *[]*Problem) {
	var items []json.RawMessage
	if json.Unmarshal(given, &items) != nil {
		*wrong = append(*wrong, misfit(pointer, "a list", given))
		return
	}
	target.Set(reflect.MakeSlice(target.Type(), len(items), len(items)))
	for i, item := range items {
		fill(target.Index(i), item, fmt.Sprintf("%s/%d", pointer, i), wrong)
	}
}

func fillMap(target reflect.Value, given json.RawMessage, pointer string, wrong *[]*Problem) {
	var members map[string]json.RawMessage
	if json.Unmarshal(given, &members) != nil {
		*wrong = append(*wrong, misfit(pointer, "a mapping", given))
		return
	}
	target.Set(reflect.MakeMap(target.Type()))
	for name, member := range members {
		value := reflect.New(target.Type().Elem()).Elem()
		fill(value, member, pointer+"/"+name, wrong)
		target.SetMapIndex(reflect.ValueOf(name).Convert(target.Type().Key()), value)
	}
}

// bounds checks what the tags say of a value.
func (s *setting) bounds(target reflect.Value, given json.RawMessage, pointer string, wrong *[]*Problem) {
	fail := func(code, wanted string) {
		*wrong = append(*wrong, &Problem{
			Code: code, Message: fmt.Sprintf("`%s` must be %s", s.name, wanted), Kind: "config", Pointer: pointer,
			Cause: "it is " + string(given), Fix: "give a value that is " + wanted,
		})
	}
	size, unit := measure(target)
	if low, ok := s.bound("min", target.Type()); ok && size < low {
		fail("config.bound", "at least "+s.tag.Get("min")+unit)
	}
	if high, ok := s.bound("max", target.Type()); ok && size > high {
		fail("config.bound", "at most "+s.tag.Get("max")+unit)
	}
	if allowed := choicesOf(s.kind, s.tag); allowed != nil && !slices.Contains(allowed, fmt.Sprint(target.Interface())) {
		listed := "`" + strings.Join(allowed, "`, `") + "`"
		*wrong = append(*wrong, &Problem{
			Code: "config.choice", Message: fmt.Sprintf("`%s` cannot be %s", s.name, given), Kind: "config", Pointer: pointer,
			Cause: "it is one of " + listed, Fix: "write one of " + listed,
		})
	}
}

// measure is what min and max bound: a number, or the length of a text, list or mapping.
func measure(target reflect.Value) (size float64, unit string) {
	switch {
	case target.CanInt():
		return float64(target.Int()), ""
	case target.CanUint():
		return float64(target.Uint()), ""
	case target.CanFloat():
		return target.Float(), ""
	case target.Kind() == reflect.String:
		return float64(len([]rune(target.String()))), " characters long"
	case target.Kind() == reflect.Slice, target.Kind() == reflect.Map:
		return float64(target.Len()), " items long"
	}
	return 0, ""
}

func (s *setting) bound(word string, kind reflect.Type) (float64, bool) {
	text, ok := s.tag.Lookup(word)
	if !ok {
		return 0, false
	}
	return number(text, kind), true
}

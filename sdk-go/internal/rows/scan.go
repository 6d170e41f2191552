package rows

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const maxDepth = 1000

// Scanner reads JSON from a text. The first error stays.
type Scanner struct {
	Text string
	At   int
	Err  error
	Void string // where a value is null that cannot be
}

// Fail keeps an error, if it is the first.
func (s *Scanner) Fail(format string, a ...any) {
	if s.Err == nil {
		s.Err = fmt.Errorf("at byte %d: %s", s.At, fmt.Sprintf(format, a...))
	}
}

func (s *Scanner) space() {
	for s.At < len(s.Text) {
		switch s.Text[s.At] {
		case ' ', '\n', '\t', '\r':
			s.At++
		default:
			return
		}
	}
}

// Peek is the first byte of the next token; 0: the text has ended.
func (s *Scanner) Peek() byte {
	if s.At < len(s.Text) && s.Text[s.At] > ' ' {
		return s.Text[s.At]
	}
	s.space()
	if s.At < len(s.Text) {
		return s.Text[s.At]
	}
	return 0
}

// Take reads this byte, if it comes next.
func (s *Scanner) Take(c byte) bool {
	if s.Peek() == c && s.Err == nil {
		s.At++
		return true
	}
	return false
}

// Expect reads this byte.
func (s *Scanner) Expect(c byte) bool {
	if s.Take(c) {
		return true
	}
	s.Fail("%q is missing", c)
	return false
}

// Null reads null, if it comes next.
func (s *Scanner) Null() bool {
	if s.Peek() == 'n' && strings.HasPrefix(s.Text[s.At:], "null") {
		s.At += 4
		return true
	}
	return false
}

// End tells whether nothing follows.
func (s *Scanner) End() bool {
	if s.Peek() != 0 || s.At < len(s.Text) {
		s.Fail("something follows")
	}
	return s.Err == nil
}

// String reads a text; it shares the memory of what is read, where nothing is escaped.
func (s *Scanner) String() string {
	if !s.Expect('"') {
		return ""
	}
	start := s.At
	for i := start; i < len(s.Text); i++ {
		switch c := s.Text[i]; {
		case c == '"':
			s.At = i + 1
			return s.Text[start:i]
		case c == '\\':
			s.At = i
			return s.escaped(start)
		case c < ' ':
			s.At = i
			s.Fail("a control character in a text")
			return ""
		}
	}
	s.Fail("a text does not end")
	return ""
}

func (s *Scanner) escaped(start int) string {
	made := []byte(s.Text[start:s.At])
	for s.At < len(s.Text) {
		c := s.Text[s.At]
		s.At++
		switch {
		case c == '"':
			return string(made)
		case c < ' ':
			s.Fail("a control character in a text")
			return ""
		case c != '\\':
			made = append(made, c)
			continue
		}
		if s.At == len(s.Text) {
			break
		}
		c = s.Text[s.At]
		s.At++
		switch c {
		case '"', '\\', '/':
			made = append(made, c)
		case 'b':
			made = append(made, '\b')
		case 'f':
			made = append(made, '\f')
		case 'n':
			made = append(made, '\n')
		case 'r':
			made = append(made, '\r')
		case 't':
			made = append(made, '\t')
		case 'u':
			r := s.hex()
			if utf16.IsSurrogate(r) && strings.HasPrefix(s.Text[s.At:], `\u`) {
				before := s.At
				s.At += 2
				if both := utf16.DecodeRune(r, s.hex()); both != utf8.RuneError {
					r = both
				} else {
					s.At = before
				}
			}
			made = utf8.AppendRune(made, r)
		default:
			s.Fail("there is no escape \\%c", c)
			return ""
		}
	}
	s.Fail("a text does not end")
	return ""
}

func (s *Scanner) hex() rune {
	if s.At+4 > len(s.Text) {
		s.Fail("an escape is cut short")
		return utf8.RuneError
	}
	n, err := strconv.ParseUint(s.Text[s.At:s.At+4], 16, 16)
	if err != nil {
		s.Fail("an escape is not hexadecimal")
		return utf8.RuneError
	}
	s.At += 4
	return rune(n)
}

// Number reads the text of a number.
func (s *Scanner) Number() string {
	s.Peek()
	start, i, text := s.At, s.At, s.Text
	digits := func() bool {
		from := i
		for i < len(text) && text[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if i < len(text) && text[i] == '-' {
		i++
	}
	whole := i
	ok := digits() && (text[whole] != '0' || i == whole+1)
	if ok && i < len(text) && text[i] == '.' {
		i++
		ok = digits()
	}
	if ok && i < len(text) && text[i]|0x20 == 'e' {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		ok = digits()
	}
	if !ok {
		s.Fail("a number is expected")
		return "0"
	}
	s.At = i
	return text[start:i]
}

// Int reads a whole number, written as a number or as a text of digits.
func (s *Scanner) Int() int64 {
	text := s.digits()
	if len(text) < 18 {
		if n, ok := small(text); ok {
			return n
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && s.Err == nil {
		if f, err := strconv.ParseFloat(text, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f)
		}
		s.Fail("%s is not a whole number of 64 bits", text)
	}
	return n
}

func small(text string) (int64, bool) {
	negative := text != "" && text[0] == '-'
	if negative {
		text = text[1:]
	}
	n := int64(0)
	for i := range len(text) {
		d := text[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	if negative {
		n = -n
	}
	return n, text != ""
}

// Uint reads a whole number from zero on.
func (s *Scanner) Uint() uint64 {
	text := s.digits()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && s.Err == nil {
		s.Fail("%s is not a whole number from 0 to 18446744073709551615", text)
	}
	return n
}

func (s *Scanner) digits() string {
	if s.Peek() == '"' {
		return s.String()
	}
	return s.Number()
}

// Float reads a floating number; those without digits are texts.
func (s *Scanner) Float() float64 {
	text := ""
	if s.Peek() == '"' {
		switch text = s.String(); text {
		case "NaN":
			return math.NaN()
		case "Infinity":
			return math.Inf(1)
		case "-Infinity":
			return math.Inf(-1)
		}
	} else {
		text = s.Number()
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && s.Err == nil {
		s.Fail("%q is not a number", text)
	}
	return n
}

// Bool reads true or false.
func (s *Scanner) Bool() bool {
	s.Peek()
	switch rest := s.Text[s.At:]; {
	case strings.HasPrefix(rest, "true"):
		s.At += 4
		return true
	case strings.HasPrefix(rest, "false"):
		s.At += 5
	default:
		s.Fail("true or false is expected")
	}
	return false
}

// Skip reads any value, and gives its text.
func (s *Scanner) Skip() string {
	s.Peek()
	start := s.At
	s.skip(0)
	return s.Text[start:s.At]
}

func (s *Scanner) skip(depth int) {
	if depth > maxDepth {
		s.Fail("values are nested too deep")
	}
	if s.Err != nil {
		return
	}
	switch s.Peek() {
	case '"':
		s.skipString()
	case '{':
		s.Members(func(string) { s.skip(depth + 1) })
	case '[':
		s.Items(func() { s.skip(depth + 1) })
	case 't', 'f':
		s.Bool()
	case 'n':
		if !s.Null() {
			s.Fail("a value is expected")
		}
	default:
		s.Number()
	}
}

func (s *Scanner) skipString() {
	text := s.Text
	for i := s.At + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			s.At = i + 1
			return
		case c == '\\' || c < ' ':
			_ = s.String()
			return
		}
	}
	s.Fail("a text does not end")
}

// Members reads an object, and calls for the value of each name.
func (s *Scanner) Members(value func(name string)) {
	if !s.Expect('{') || s.Take('}') {
		return
	}
	for s.Err == nil {
		name := s.String()
		if !s.Expect(':') {
			return
		}
		value(name)
		if !s.Take(',') {
			s.Expect('}')
			return
		}
	}
}

// Items reads an array, and calls for each item.
func (s *Scanner) Items(item func()) {
	if !s.Expect('[') || s.Take(']') {
		return
	}
	for s.Err == nil {
		item()
		if !s.Take(',') {
			s.Expect(']')
			return
		}
	}
}

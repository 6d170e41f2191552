package arrow

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

const tenToThe18 = 1_000_000_000_000_000_000

// decimalText is the text of a number in two's complement, with so many digits behind the point.
func decimalText(content []byte, scale int) string {
	words, negative := magnitude(content)
	var chunks []uint64
	for !isZero(words) {
		rest := uint64(0)
		for i := len(words) - 1; i >= 0; i-- {
			words[i], rest = bits.Div64(rest, words[i], tenToThe18)
		}
		chunks = append(chunks, rest)
	}
	digits := "0"
	if n := len(chunks); n > 0 {
		digits = fmt.Sprint(chunks[n-1])
		for i := n - 2; i >= 0; i-- {
			digits += fmt.Sprintf("%018d", chunks[i])
		}
	}
	if scale < 0 && digits != "0" {
		digits += strings.Repeat("0", -scale)
	}
	if scale > 0 {
		if len(digits) <= scale {
			digits = strings.Repeat("0", scale-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if negative {
		return "-" + digits
	}
	return digits
}

func magnitude(content []byte) (words []uint64, negative bool) {
	negative = content[len(content)-1]>>7 == 1
	padded := make([]byte, (len(content)+7)&^7)
	copy(padded, content)
	if negative {
		for i := len(content); i < len(padded); i++ {
			padded[i] = 0xff
		}
	}
	words = make([]uint64, len(padded)/8)
	carry := uint64(1)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(padded[8*i:])
		if negative {
			words[i], carry = bits.Add64(^words[i], 0, carry)
		}
	}
	return words, negative
}

func isZero(words []uint64) bool {
	for _, word := range words {
		if word != 0 {
			return false
		}
	}
	return true
}

// appendDecimal adds a number as two's complement of so many bytes.
func appendDecimal(dst []byte, text string, width, precision, scale int) ([]byte, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if scale >= 0 {
		kept := strings.TrimRight(fraction, "0")
		if len(kept) > scale {
			return dst, fmt.Errorf("%s has more than %d digits behind the point", text, scale)
		}
		whole += kept + strings.Repeat("0", scale-len(kept))
	} else {
		kept, ok := strings.CutSuffix(whole, strings.Repeat("0", -scale))
		if strings.Trim(fraction, "0") != "" || !ok && strings.Trim(whole, "0") != "" {
			return dst, fmt.Errorf("%s is not a multiple of 1%s", text, strings.Repeat("0", -scale))
		}
		whole = kept
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > precision {
		return dst, fmt.Errorf("%s has more than %d digits", text, precision)
	}
	words := make([]uint64, (width+7)/8)
	for i := range len(whole) {
		d := whole[i] - '0'
		if d > 9 {
			return dst, fmt.Errorf("%q is not a decimal number", text)
		}
		carry := uint64(d)
		for w := range words {
			high, low := bits.Mul64(words[w], 10)
			var over uint64
			words[w], over = bits.Add64(low, carry, 0)
			carry = high + over
		}
	}
	carry := uint64(1)
	start := len(dst)
	for _, word := range words {
		if negative {
			word, carry = bits.Add64(^word, 0, carry)
		}
		dst = binary.LittleEndian.AppendUint64(dst, word)
	}
	return dst[:start+width], nil
}

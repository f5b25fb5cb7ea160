// SPDX-License-Identifier: MIT OR Apache-2.0

package capscache

import "fmt"

// Answer is yes, no or unknown. What an emulator did not report is unknown, never no. The zero value is Unknown.
type Answer uint8

const (
	// Unknown: QEMU did not report it.
	Unknown Answer = iota
	// No: absent or not supported.
	No
	// Yes: present or supported.
	Yes
)

var answers = [...]string{Unknown: "unknown", No: "no", Yes: "yes"}

// String returns yes, no or unknown.
func (a Answer) String() string {
	if int(a) >= len(answers) {
		return fmt.Sprintf("Answer(%d)", uint8(a))
	}
	return answers[a]
}

// MarshalText returns yes, no or unknown.
func (a Answer) MarshalText() ([]byte, error) {
	if int(a) >= len(answers) {
		return nil, fmt.Errorf("%v is not an answer", a)
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads yes, no or unknown.
func (a *Answer) UnmarshalText(text []byte) error {
	for value, name := range answers {
		if name == string(text) {
			*a = Answer(value)
			return nil
		}
	}
	return fmt.Errorf("%q is not an answer: it is not yes, no or unknown", text)
}

// AnswerOf returns Yes for true, No for false.
func AnswerOf(is bool) Answer {
	if is {
		return Yes
	}
	return No
}

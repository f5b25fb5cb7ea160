// SPDX-License-Identifier: MIT OR Apache-2.0

package capscache

import (
	"encoding/json"
	"testing"
)

func TestAnAnswerIsUnknownUntilItIsSet(t *testing.T) {
	var answer Answer
	if answer != Unknown || answer == No {
		t.Fatalf("%v", answer)
	}
}

func TestAnAnswerIsWrittenAsItIsRead(t *testing.T) {
	for answer, text := range map[Answer]string{Unknown: `"unknown"`, No: `"no"`, Yes: `"yes"`} {
		written, err := json.Marshal(answer)
		if err != nil || string(written) != text {
			t.Fatalf("%s, %v", written, err)
		}
		var read Answer
		if err := json.Unmarshal(written, &read); err != nil || read != answer {
			t.Fatalf("%v, %v", read, err)
		}
	}
	var read Answer
	if json.Unmarshal([]byte(`"perhaps"`), &read) == nil {
		t.Fatalf("perhaps is %v", read)
	}
	if _, err := json.Marshal(Answer(7)); err == nil {
		t.Fatal("7 is an answer")
	}
}

func TestGroupsHaveTheNamesOfTheInterface(t *testing.T) {
	all := Devices | Objects | CPUModels
	if GroupsOf(all.Names()) != all || len(all.Names()) != 3 || len(Core.Names()) != 0 || GroupsOf([]string{"later"}) != Core {
		t.Fatalf("%v", all.Names())
	}
}

func TestEveryKindOfErrorHasWords(t *testing.T) {
	seen := map[string]bool{}
	for kind := ErrInvalidArgument; kind <= ErrClosed; kind++ {
		if words := kind.Error(); words == "" || seen[words] || words[0] == 'K' {
			t.Errorf("%d is %q", kind, words)
		} else {
			seen[words] = true
		}
	}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"encoding/json"
	"strings"
	"syscall"
	"unicode/utf8"

	capscache "capscache.io/go"
	"capscache.io/go/internal/paths"
)

// Limits of the service, which docs/service.md has.
const (
	// maxQueries is the number of queries in one call.
	maxQueries = 1024
	// maxQueryBytes is the length of a query.
	maxQueryBytes = 4096
	// maxMessageBytes is the length of a message, without the zero byte at its end.
	maxMessageBytes = 1 << 20
	// maxValues is the number of commas and opening brackets in a message, inside or outside strings.
	maxValues = 16 << 10
	// maxPathBytes is PATH_MAX, with the zero byte.
	maxPathBytes = 4096

	// Parts of the message that are not queries, with room to spare: names of the call and its parameters.
	otherBytes  = 256
	otherValues = 16
)

// checkText refuses what the C library cannot take either: text with a zero byte or that is not UTF-8.
func checkText(what, text string) error {
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return failure(capscache.ErrInvalidArgument, "", "cannot send the %s %q to the service: it has a zero byte", what, text)
	case !utf8.ValidString(text):
		return failure(capscache.ErrInvalidArgument, "", "cannot send the %s %q to the service: it is not UTF-8", what, text)
	}
	return nil
}

func checkGroups(groups capscache.Groups) error {
	if groups&^(capscache.Devices|capscache.Objects|capscache.CPUModels) != 0 {
		return failure(capscache.ErrInvalidArgument, "", "invalid argument: %d is not a set of groups", uint32(groups))
	}
	return nil
}

func checkQuery(query string) error {
	if err := checkText("query", query); err != nil {
		return err
	}
	if len(query) > maxQueryBytes {
		return failure(capscache.ErrInvalidQuery, "",
			"cannot parse the query: it has %d bytes, more than %d; send a shorter one", len(query), maxQueryBytes)
	}
	return nil
}

// cost is what a text counts in a message.
type cost struct {
	bytes, values int
}

func costOf(text string) cost {
	// A string can always be written.
	written, _ := json.Marshal(text)
	// With the comma before the text.
	found := cost{len(written) + 1, 1}
	for _, char := range written {
		if char == ',' || char == '[' || char == '{' {
			found.values++
		}
	}
	return found
}

// countThatFits returns how many of the queries, at least one of them, the service takes in one call about an emulator.
func countThatFits(emulator string, queries []string) int {
	sum := costOf(emulator)
	sum.bytes += otherBytes
	sum.values += otherValues
	for at, query := range queries {
		one := costOf(query)
		sum.bytes += one.bytes
		sum.values += one.values
		if at > 0 && (at == maxQueries || sum.bytes > maxMessageBytes || sum.values > maxValues) {
			return at
		}
	}
	return len(queries)
}

// absolute returns a path as the interface spells it.
func absolute(path string) (string, error) {
	if path == "" {
		return "", failure(capscache.ErrInvalidArgument, "", "invalid argument: emulator is empty")
	}
	if err := checkText("path", path); err != nil {
		return "", err
	}
	path, err := paths.Absolute(path)
	if err != nil {
		return "", err
	}
	if len(path) >= maxPathBytes {
		failed := failure(capscache.ErrEmulator, path,
			"cannot send the path of the emulator to the service: it has %d bytes, %d at most", len(path), maxPathBytes-1)
		failed.Errno = syscall.ENAMETOOLONG
		return "", failed
	}
	return path, nil
}

// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	capscache "capscache.io/go"
)

// kinds are those of the errors of the interface; other errors are ErrService.
var kinds = map[string]capscache.Kind{
	interfaceName + "BadPath":                  capscache.ErrEmulator,
	interfaceName + "NoSuchEmulator":           capscache.ErrEmulator,
	interfaceName + "NotAnEmulator":            capscache.ErrNotAnEmulator,
	interfaceName + "ProbeFailed":              capscache.ErrProbe,
	interfaceName + "NotPermitted":             capscache.ErrDenied,
	interfaceName + "BadQuery":                 capscache.ErrInvalidQuery,
	interfaceName + "UnknownFormat":            capscache.ErrInvalidArgument,
	interfaceName + "UnknownGroup":             capscache.ErrInvalidArgument,
	interfaceName + "CacheUnusable":            capscache.ErrEntry,
	"org.varlink.service.InvalidParameter":     capscache.ErrInvalidArgument,
	"org.varlink.service.MethodNotFound":       capscache.ErrUnsupported,
	"org.varlink.service.MethodNotImplemented": capscache.ErrUnsupported,
	"org.varlink.service.InterfaceNotFound":    capscache.ErrUnsupported,
	"org.varlink.service.PermissionDenied":     capscache.ErrDenied,
	"org.varlink.service.ExpectedMore":         capscache.ErrInternal,
}

// refusal returns an error that the service replied with.
func refusal(name string, parameters json.RawMessage) error {
	var facts struct {
		Emulator  string `json:"emulator"`
		Reason    string `json:"reason"`
		Query     string `json:"query"`
		Parameter string `json:"parameter"`
	}
	// What is not there is empty.
	_ = json.Unmarshal(parameters, &facts)
	kind, ok := kinds[name]
	if !ok {
		kind = capscache.ErrService
	}
	reason := facts.Reason
	switch {
	case reason != "":
	case facts.Parameter != "":
		reason = fmt.Sprintf("the parameter %q is invalid", facts.Parameter)
	default:
		reason = fmt.Sprintf("the service replied %q", name)
	}
	failed := failure(kind, facts.Emulator, "%s", reason)
	if name == interfaceName+"NoSuchEmulator" {
		failed = failure(kind, facts.Emulator, "cannot stat the emulator %s: %s", facts.Emulator, reason)
		failed.Errno = numberOf(reason)
	}
	return failed
}

// numberOf returns the number of the error of stat(2) that a reason is; 0 if it is none. The interface has only the text, which is
// that of strerror(3).
func numberOf(reason string) syscall.Errno {
	for _, number := range []syscall.Errno{
		syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EIO,
	} {
		if strings.EqualFold(reason, number.Error()) {
			return number
		}
	}
	return 0
}

func failure(kind capscache.Kind, path, format string, values ...any) *capscache.Error {
	return &capscache.Error{Kind: kind, Path: path, Message: escape(fmt.Sprintf(format, values...))}
}

// escape replaces what a terminal could act on, or what a reader could take for another line or another order: control and
// format characters, and bytes that are not UTF-8. %q has escaped them in what it printed.
func escape(text string) string {
	var escaped strings.Builder
	for at, size := 0, 0; at < len(text); at += size {
		var char rune
		char, size = utf8.DecodeRuneInString(text[at:])
		switch {
		case char == utf8.RuneError && size == 1:
			fmt.Fprintf(&escaped, `\x%02x`, text[at])
		case char == ' ' || unicode.IsPrint(char):
			escaped.WriteRune(char)
		default:
			quoted := strconv.QuoteRuneToASCII(char)
			escaped.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return escaped.String()
}

func unreadable(cause error) error {
	failed := failure(capscache.ErrService, "", "cannot read the service's reply: %v", cause)
	failed.Cause = cause
	return failed
}

func closed() error {
	return failure(capscache.ErrClosed, "", "cannot use the client or entry: it was closed")
}

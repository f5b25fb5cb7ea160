// SPDX-License-Identifier: MIT OR Apache-2.0

// Package paths has what both clients do with the path of an emulator.
package paths

import (
	"fmt"
	"os"

	capscache "capscache.io/go"
)

// Absolute returns a path that does not depend on the working directory, which may change while callers wait. It is not cleaned:
// behind a link, .. leads elsewhere. An empty path stays. Without a working directory it returns a *capscache.Error.
func Absolute(path string) (string, error) {
	if path == "" || path[0] == '/' {
		return path, nil
	}
	directory, err := os.Getwd()
	if err != nil {
		return "", &capscache.Error{
			Kind:    capscache.ErrEmulator,
			Message: fmt.Sprintf("cannot make %q absolute: %v", path, err),
			Path:    path,
			Cause:   err,
		}
	}
	return directory + "/" + path, nil
}

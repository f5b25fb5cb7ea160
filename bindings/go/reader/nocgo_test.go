// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo

package reader

import (
	"errors"
	"testing"

	capscache "capscache.io/go"
)

func TestWithoutCgoTheReaderIsUnsupported(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{}); !errors.Is(err, capscache.ErrUnsupported) {
		t.Fatalf("%v", err)
	}
}

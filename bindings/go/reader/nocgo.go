// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo

package reader

import capscache "capscache.io/go"

// Open returns ErrUnsupported: this program was built without cgo.
func Open(root string, options Options) (capscache.Cache, error) {
	return nil, &capscache.Error{
		Kind:    capscache.ErrUnsupported,
		Message: "cannot use the C library of capscache: this program was built without cgo; call the service",
	}
}

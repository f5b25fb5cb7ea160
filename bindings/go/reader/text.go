// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

// #include <capscache.h>
import "C"

import (
	"strings"
	"unsafe"

	capscache "capscache.io/go"
)

// text is a string with a zero byte at its end, in memory of Go's: the library keeps no pointer after a call.
type text []byte

func textOf(value string) (text, error) {
	if strings.IndexByte(value, 0) >= 0 {
		return nil, invalid("cannot pass %q to the library: it has a zero byte", value)
	}
	bytes := make(text, len(value)+1)
	copy(bytes, value)
	return bytes, nil
}

func (t text) pointer() *C.char {
	return (*C.char)(unsafe.Pointer(&t[0]))
}

// stringsOf returns the strings of a list whose last element is NULL; nil for NULL.
func stringsOf(list **C.char) []string {
	if list == nil {
		return nil
	}
	texts := []string{}
	for ; *list != nil; list = next(list) {
		texts = append(texts, C.GoString(*list))
	}
	return texts
}

func answerOf(tri uint32) capscache.Answer {
	switch tri {
	case C.CAPSCACHE_TRI_YES:
		return capscache.Yes
	case C.CAPSCACHE_TRI_NO:
		return capscache.No
	default:
		return capscache.Unknown
	}
}

func acceleratorOf(accelerator capscache.Accelerator) (C.uint32_t, error) {
	switch accelerator {
	case capscache.Best:
		return C.CAPSCACHE_ACCELERATOR_BEST, nil
	case capscache.KVM:
		return C.CAPSCACHE_ACCELERATOR_KVM, nil
	case capscache.HVF:
		return C.CAPSCACHE_ACCELERATOR_HVF, nil
	case capscache.TCG:
		return C.CAPSCACHE_ACCELERATOR_TCG, nil
	case capscache.QTest:
		return C.CAPSCACHE_ACCELERATOR_QTEST, nil
	default:
		return 0, invalid("unknown accelerator %q: known are kvm, hvf, tcg, qtest", accelerator)
	}
}

func versionOf(number C.uint64_t) capscache.Version {
	return capscache.Version{
		Major: int(number / 1_000_000),
		Minor: int(number / 1_000 % 1_000),
		Micro: int(number % 1_000),
	}
}

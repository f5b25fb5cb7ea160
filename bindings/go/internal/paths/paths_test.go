// SPDX-License-Identifier: MIT OR Apache-2.0

package paths

import (
	"os"
	"testing"
)

func TestAPathThatIsSharedDoesNotDependOnTheWorkingDirectory(t *testing.T) {
	directory, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, expected := range map[string]string{"": "", "/x/../y": "/x/../y", "x": directory + "/x", "../x": directory + "/../x"} {
		if found, err := Absolute(path); found != expected || err != nil {
			t.Errorf("%q is %q, %v", path, found, err)
		}
	}
}

//go:build !linux

package pgtest

import "os/exec"

// apply does nothing: what it does on Linux has another form on each system.
// The tests run as a user here, not as root.
func (owner) apply(*exec.Cmd) {}

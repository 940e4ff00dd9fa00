package apptest

import (
	"os/exec"
	"syscall"
)

// dieWithTest has the process killed where the test dies before it.
func dieWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

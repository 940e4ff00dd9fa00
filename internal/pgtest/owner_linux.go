package pgtest

import (
	"os/exec"
	"syscall"
)

// apply lets c run as the user and end with the thread that starts it.
func (o owner) apply(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT}
	if o.switched {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: o.uid, Gid: o.gid}
	}
}

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// clockTick is the unit of processor times below /proc (USER_HZ).
const clockTick = 10 * time.Millisecond

// cpuOf gives the processor time that a process has spent, 0 if it is gone.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field, a name in brackets, may hold blanks.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * clockTick
}

// rssOf gives the resident memory of a process in MiB, 0 if it is gone.
func rssOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("VmRSS:"))
	kB, _ := strconv.Atoi(string(bytes.Fields(rest)[0]))
	return float64(kB) / 1024
}

// dieTogether has the process killed where this one dies before it.
func dieTogether(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// tmpfs is the type of a file system in memory (statfs(2)).
const tmpfs = 0x01021994

// onDisk refuses a folder in memory, where nothing is durable.
func onDisk(dir string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return err
	}
	if s.Type == tmpfs {
		return fmt.Errorf("%s is in memory: choose a folder on a disk with --dir", dir)
	}
	return nil
}

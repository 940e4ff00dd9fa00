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

// stat gives the fields of a process from its state on, nil if it is gone: those
// behind the name in brackets, which may hold blanks (proc_pid_stat(5)).
func stat(pid int) [][]byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
}

// Places of the fields.
const (
	statParent = 1
	statUser   = 11 // then the system's time, and both of the children that have ended
)

// ticks adds up so many times of a process.
func ticks(pid, fields int) time.Duration {
	s, sum := stat(pid), 0
	if s == nil {
		return 0
	}
	for _, field := range s[statUser : statUser+fields] {
		n, _ := strconv.Atoi(string(field))
		sum += n
	}
	return time.Duration(sum) * clockTick
}

// cpuOf gives the processor time that a process has spent, 0 if it is gone.
func cpuOf(pid int) time.Duration { return ticks(pid, 2) }

// parentOf gives the process that a process comes from, 0 if it is gone.
func parentOf(pid int) int {
	s := stat(pid)
	if s == nil {
		return 0
	}
	parent, _ := strconv.Atoi(string(s[statParent]))
	return parent
}

// cpuOfTree gives the processor time of a process, of its children, and of those
// that have ended.
func cpuOfTree(pid int) time.Duration {
	sum := ticks(pid, 4)
	children, _ := os.ReadDir("/proc")
	for _, entry := range children {
		if child, err := strconv.Atoi(entry.Name()); err == nil && parentOf(child) == pid {
			sum += cpuOf(child)
		}
	}
	return sum
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

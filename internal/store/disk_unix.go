//go:build unix

package store

import "golang.org/x/sys/unix"

// freeBytes tells how much may still be written to the disk of a folder.
func freeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	err := unix.Statfs(dir, &stat)
	return int64(stat.Bavail) * int64(stat.Bsize), err
}

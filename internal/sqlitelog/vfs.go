// Package sqlitelog gathers what a commit of SQLite adds to its write-ahead
// log, and writes it with one call.
//
// SQLite writes two pieces for each changed page, a header of 24 bytes and the
// page, and a commit of a busy server has dozens of pages: these calls cost more
// than the sync behind them. [VFS] is one, SQLite's layer above the operating
// system (https://sqlite.org/vfs.html): the operating system's own, but that
// writes to the log are kept as long as each begins where the one before ended,
// until SQLite asks for a sync or for anything else of that file.
//
// Nothing is weakened by it. SQLite syncs the log before it tells other
// connections, by the index in shared memory, that there is something new in it
// (sqlite3WalFrames in its wal.c), and so nobody looks for what is still kept;
// what was written but not synced is nowhere promised to be on disk.
package sqlitelog

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	sqlite3 "modernc.org/sqlite/lib"
)

// most bounds what is kept of one file, in bytes: 31 pages with their headers.
// SQLite's own VFS takes no more at once (seekAndWriteFd in its os_unix.c).
const most = 1<<17 - 1

// VFS is the name that SQLite knows it by: the vfs of a connection's DSN, once
// it is registered.
const VFS = "tidings"

var below uintptr // the operating system's VFS

// Register makes the VFS known to SQLite. What it does once is enough for the
// process.
var Register = sync.OnceValue(func() error {
	tls := libc.NewTLS()
	defer tls.Close()
	if below = sqlite3.Xsqlite3_vfs_find(tls, 0); below == 0 {
		return errors.New("SQLite has no VFS")
	}
	name, err := libc.CString(VFS)
	if err != nil {
		return fmt.Errorf("naming SQLite's VFS: %w", err)
	}
	// SQLite reads it for as long as the process lives.
	vfs := libc.Xmalloc(tls, types.Size_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	if vfs == 0 {
		return errors.New("no memory for SQLite's VFS")
	}
	ours := *at[sqlite3.Tsqlite3_vfs](below)
	ours.FpNext, ours.FzName, ours.FxOpen = 0, name, pointer(open)
	*at[sqlite3.Tsqlite3_vfs](vfs) = ours
	if code := sqlite3.Xsqlite3_vfs_register(tls, vfs, 0); code != sqlite3.SQLITE_OK {
		return fmt.Errorf("registering SQLite's VFS: code %d", code)
	}
	return nil
})

// open opens a file as the VFS below does. A log gets methods of ours.
func open(tls *libc.TLS, _, path, file uintptr, flags int32, outFlags uintptr) int32 {
	code := function[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](at[sqlite3.Tsqlite3_vfs](below).FxOpen)(tls, below, path, file, flags, outFlags)
	if code == sqlite3.SQLITE_OK && flags&sqlite3.SQLITE_OPEN_WAL != 0 {
		code = adopt(tls, file)
	}
	return code
}

// at reads an address of SQLite's.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function makes a function of a pointer to one of SQLite's.
func function[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

// pointer makes a pointer for SQLite of a function, which has to be one of the
// package: the address of what a closure holds is not kept.
func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

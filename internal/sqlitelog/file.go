package sqlitelog

import (
	"sync"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	sqlite3 "modernc.org/sqlite/lib"
)

// file is an open log. SQLite uses one from one goroutine at a time.
type file struct {
	below   *sqlite3.Tsqlite3_io_methods
	methods uintptr // what SQLite calls; behind it, in the same memory of C, is room for what is kept
	from    int64   // where what is kept belongs in the file
	kept    []byte  // not written yet
}

// files are the open logs, by SQLite's address of each.
var files sync.Map

// adopt takes over a file that the VFS below has opened.
func adopt(tls *libc.TLS, address uintptr) int32 {
	const size = unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})
	opened := at[sqlite3.Tsqlite3_file](address)
	f := &file{below: at[sqlite3.Tsqlite3_io_methods](opened.FpMethods)}
	if f.methods = libc.Xmalloc(tls, types.Size_t(size+most)); f.methods == 0 {
		return sqlite3.SQLITE_NOMEM // SQLite closes what is open
	}
	f.kept = unsafe.Slice(at[byte](f.methods+size), most)[:0]
	ours := *f.below
	ours.FxClose = pointer(closeFile)
	ours.FxRead = pointer(read)
	ours.FxWrite = pointer(write)
	ours.FxTruncate = pointer(truncate)
	ours.FxSync = pointer(syncFile)
	ours.FxFileSize = pointer(fileSize)
	ours.FxFileControl = pointer(control)
	*at[sqlite3.Tsqlite3_io_methods](f.methods) = ours
	files.Store(address, f)
	opened.FpMethods = f.methods
	return sqlite3.SQLITE_OK
}

func of(address uintptr) *file {
	f, _ := files.Load(address)
	return f.(*file)
}

// write keeps what continues what is kept, and writes the latter before
// anything else. SQLite writes no more at once than a page, which may have 64 KiB.
func write(tls *libc.TLS, address, data uintptr, n int32, from int64) int32 {
	f := of(address)
	if len(f.kept) > 0 && (from != f.from+int64(len(f.kept)) || len(f.kept)+int(n) > most) {
		if code := f.flush(tls, address); code != sqlite3.SQLITE_OK {
			return code
		}
	}
	if len(f.kept) == 0 {
		f.from = from
	}
	f.kept = append(f.kept, unsafe.Slice(at[byte](data), n)...)
	return sqlite3.SQLITE_OK
}

// flush writes what is kept. If that fails nothing is kept any longer: SQLite
// undoes the transaction, and writes its next one over it.
func (f *file) flush(tls *libc.TLS, address uintptr) int32 {
	if len(f.kept) == 0 {
		return sqlite3.SQLITE_OK
	}
	kept := f.kept
	f.kept = kept[:0]
	return function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.below.FxWrite)(tls, address, uintptr(unsafe.Pointer(&kept[0])), int32(len(kept)), f.from)
}

func syncFile(tls *libc.TLS, address uintptr, flags int32) int32 {
	f := of(address)
	if code := f.flush(tls, address); code != sqlite3.SQLITE_OK {
		return code
	}
	return function[func(*libc.TLS, uintptr, int32) int32](f.below.FxSync)(tls, address, flags)
}

func read(tls *libc.TLS, address, data uintptr, n int32, from int64) int32 {
	f := of(address)
	if code := f.flush(tls, address); code != sqlite3.SQLITE_OK {
		return code
	}
	return function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.below.FxRead)(tls, address, data, n, from)
}

func truncate(tls *libc.TLS, address uintptr, size int64) int32 {
	f := of(address)
	if code := f.flush(tls, address); code != sqlite3.SQLITE_OK {
		return code
	}
	return function[func(*libc.TLS, uintptr, int64) int32](f.below.FxTruncate)(tls, address, size)
}

func fileSize(tls *libc.TLS, address, result uintptr) int32 {
	f := of(address)
	if code := f.flush(tls, address); code != sqlite3.SQLITE_OK {
		return code
	}
	return function[func(*libc.TLS, uintptr, uintptr) int32](f.below.FxFileSize)(tls, address, result)
}

func control(tls *libc.TLS, address uintptr, what int32, argument uintptr) int32 {
	f := of(address)
	if code := f.flush(tls, address); code != sqlite3.SQLITE_OK {
		return code
	}
	return function[func(*libc.TLS, uintptr, int32, uintptr) int32](f.below.FxFileControl)(tls, address, what, argument)
}

// closeFile gives the file back to the VFS below, with what is kept.
func closeFile(tls *libc.TLS, address uintptr) int32 {
	f := of(address)
	failed := f.flush(tls, address)
	code := function[func(*libc.TLS, uintptr) int32](f.below.FxClose)(tls, address)
	files.Delete(address)
	libc.Xfree(tls, f.methods)
	if failed != sqlite3.SQLITE_OK {
		return failed
	}
	return code
}

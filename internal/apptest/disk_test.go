//go:build linux

package apptest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tidings/internal/apptest"
	"tidings/internal/server"
)

// smallDisk mounts a disk of so many MiB, of which a filler file takes a part,
// and gives a data folder on it and what removes the filler.
func smallDisk(t *testing.T, size, filler int) (dir string, free func()) {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%dm", size)); err != nil {
		t.Fatalf("this test mounts a small disk of its own, which takes root (CAP_SYS_ADMIN), as in a container of CI: mounting: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting the test's disk: %v", err)
		}
	})
	file := filepath.Join(disk, "filler")
	if err := os.WriteFile(file, bytes.Repeat([]byte{1}, filler<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(disk, "data"), func() {
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	}
}

// fill publishes until the disk takes nothing any more, single events at last,
// and gives the ids of what was accepted.
func fill(t *testing.T, a *apptest.API) (accepted []string) {
	t.Helper()
	for size, n := 500, 0; size > 0; n++ {
		ids, status, answer, err := tryPublish(a, many(size, offered, fmt.Sprint("full-", n))...)
		switch {
		case err != nil:
			t.Fatal(err)
		case status == http.StatusServiceUnavailable:
			size /= 2
		case status != http.StatusAccepted:
			t.Fatalf("status %d: %s", status, answer)
		case n > 10000:
			t.Fatal("the disk is never full")
		}
		accepted = append(accepted, ids...)
	}
	return accepted
}

// refusedByFullDisk publishes to a full disk and wants to be told of it.
func refusedByFullDisk(t *testing.T, p *apptest.Process) {
	t.Helper()
	body, _ := json.Marshal(many(50, offered, "refused"))
	request, err := http.NewRequest("POST", p.URL+server.Prefix+"/events", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+p.Token())
	answer, err := p.HTTP.Do(request)
	if err != nil {
		t.Fatalf("the server has to stay up: %v", err)
	}
	defer answer.Body.Close()
	var problems server.Problems
	if err := json.NewDecoder(answer.Body).Decode(&problems); err != nil {
		t.Fatal(err)
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After is %q", answer.Header.Get("Retry-After"))
	}
	if answer.StatusCode != http.StatusServiceUnavailable || len(problems.Errors) != 1 ||
		problems.Errors[0].Code != "UNAVAILABLE" || !strings.Contains(problems.Errors[0].Detail, "disk of the server is full") {
		t.Errorf("status %d, %+v", answer.StatusCode, problems)
	}
}

func TestAFullDiskLosesAndRepeatsNothing(t *testing.T) {
	dir, free := smallDisk(t, 14, 8)
	p := apptest.Serve(t, apptest.Setup{Plain: true, Dir: dir, Flags: []string{oftenRetried}})
	tally := newTally()
	receiver := apptest.NewReceiver(t, p.CA, tally.answer)
	for _, path := range []string{"/webhooks", "/second"} {
		p.Register(strings.Replace(receiver.URL, "/webhooks", path, 1))
	}
	accepted := fill(t, p.API)
	for range 20 { // for as long as the disk is full
		refusedByFullDisk(t, p)
	}
	p.Await("/readyz tells it", func() bool { return p.ReadyStatus() == http.StatusServiceUnavailable })
	while, repeated := tally.counts()
	t.Logf("full after %d events; %d arrivals so far, %d of them repeated", len(accepted), while, repeated)

	free()
	p.Await("publishing works again, without a restart", func() bool {
		ids, _, _, err := tryPublish(p.API, many(50, offered, "again")...)
		accepted = append(accepted, ids...)
		return err == nil && ids != nil
	})
	p.Await("/readyz tells that too", func() bool { return p.ReadyStatus() == http.StatusOK })
	for _, path := range []string{"/webhooks", "/second"} {
		p.Await("every accepted event has arrived", func() bool { return tally.missing(path, accepted) == 0 })
	}
	arrivals, duplicates := tally.counts()
	t.Logf("%d events accepted, %d arrivals, %d of them repeated", len(accepted), arrivals, duplicates)
	if duplicates > 0 {
		t.Errorf("%d webhooks were repeated, although results only had to wait for the disk", duplicates)
	}
	p.Check()
}

// Whoever asks /readyz before sending requests sends none to a server that is
// not ready: it has to find out by itself that the disk has room again.
func TestAFullDiskIsNoticedToBeOverWithoutRequests(t *testing.T) {
	dir, free := smallDisk(t, 14, 8)
	p := apptest.Serve(t, apptest.Setup{Plain: true, Dir: dir})
	fill(t, p.API) // nobody receives: nothing has to be written
	if status := p.ReadyStatus(); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d while the disk is full", status)
	}
	free()
	p.Await("/readyz tells that the disk has room", func() bool { return p.ReadyStatus() == http.StatusOK })
}

// A disk that refuses writes though it has room is told as well, and noticed to
// be over: here the process may make no file longer.
func TestReadyTellsThatTheDiskRefusesWrites(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Plain: true})
	limit := func(bytes uint64) {
		t.Helper()
		limits := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(p.PID(), unix.RLIMIT_FSIZE, &limits, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	if status, answer, err := p.Request("POST", "/events", many(1, offered, "i")[0]); err != nil || status != http.StatusServiceUnavailable {
		t.Fatalf("status %d, %v: %s", status, err, answer)
	}
	if ready, alive := p.ReadyStatus(), health(t, p.API, "/healthz"); ready != http.StatusServiceUnavailable || alive != http.StatusOK {
		t.Errorf("/readyz is %d and /healthz %d while the disk takes no writes", ready, alive)
	}
	limit(unix.RLIM_INFINITY)
	p.Await("/readyz tells that it does again", func() bool { return p.ReadyStatus() == http.StatusOK })
	publish(t, p.API, many(1, offered, "i")...)
	p.Check()
}

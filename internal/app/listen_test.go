package app

import (
	"net"
	"strings"
	"testing"
)

// Who starts a second server is told how to give it an address of its own.
func TestATakenAddressIsExplained(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	cfg := Default()
	cfg.Listen = first.Addr().String()
	if _, err := listen(cfg); err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("error %v", err)
	}
}

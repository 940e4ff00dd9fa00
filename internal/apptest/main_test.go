package apptest_test

import (
	"os"
	"testing"

	"tidings/internal/apptest"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }

//go:build race

package apptest

// RaceEnabled tells whether the test runs with the race detector.
const RaceEnabled = true

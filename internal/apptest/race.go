//go:build race

package apptest

// raceEnabled tells whether the test runs with the race detector.
const raceEnabled = true

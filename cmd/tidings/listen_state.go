package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock" // one listener per state: two would take each other's position

	"tidings/webhook"
)

// listenState is what a listener keeps over restarts.
type listenState struct {
	Secret   string `json:"secret"`   // whsec_…, made at first use
	Started  bool   `json:"started"`  // Position is set; where it is empty, no event is behind us
	Position string `json:"position"` // the last event that was dealt with
}

// stateFile is a listenState on disk, for one listener at a time.
type stateFile struct {
	listenState
	path string
	lock *flock.Flock
}

// defaultStatePath gives a file of its own to each organisation's client,
// server and receiver.
func defaultStatePath(url, clientID, forward string) (string, error) {
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("there is no folder for the state: give --state FILE: %w", err)
		}
		dir = filepath.Join(home, ".local", "state")
	}
	sum := sha256.Sum256([]byte(url + "\n" + clientID + "\n" + forward))
	return filepath.Join(dir, "tidings", "listen-"+hex.EncodeToString(sum[:8])+".json"), nil
}

// openState locks and reads the state; at first use it makes the secret.
func openState(path string) (*stateFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the state: %w", err)
	}
	s := &stateFile{path: path, lock: flock.New(path + ".lock")}
	free, err := s.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the state: %w", err)
	}
	if !free {
		return nil, fmt.Errorf("another tidings listen uses %s: end it, or give this one another --state", path)
	}
	if err := s.read(); err != nil {
		s.lock.Unlock()
		return nil, err
	}
	return s, nil
}

// read reads the state, or begins one.
func (s *stateFile) read() error {
	text, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		s.Secret = webhook.NewSecret().Reveal()
		return s.save()
	}
	if err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	if err := json.Unmarshal(text, &s.listenState); err != nil {
		return fmt.Errorf("%s is no state of tidings listen; remove it to begin anew: %w", s.path, err)
	}
	return nil
}

// readSecret reads a state's secret, also beside a running listener, and makes
// the state where there is none.
func readSecret(path string) (string, error) {
	var s listenState
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &s) == nil && s.Secret != "" {
		return s.Secret, nil
	}
	f, err := openState(path)
	if err != nil {
		return "", err
	}
	return f.Secret, f.close()
}

// moveTo keeps the position. What was done before is not done again.
func (s *stateFile) moveTo(position string) error {
	s.Started, s.Position = true, position
	return s.save()
}

// save replaces the file as a whole: what is read is never half a state.
func (s *stateFile) save() error {
	text, err := json.Marshal(s.listenState)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(s.path), ".listen-*") // 0600: it holds a secret
	if err != nil {
		return fmt.Errorf("keeping the state: %w", err)
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), s.path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("keeping the state: %w", err)
	}
	return nil
}

func (s *stateFile) close() error { return s.lock.Unlock() }

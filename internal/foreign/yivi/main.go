// Command yivi is a wallet that is Yivi's engine (github.com/privacybydesign/irmago):
// what runs inside the Yivi app. It claims one offer, step by step, as the
// programs of ../js do: one JSON object a line on standard input, one answer a
// line. It is a module of its own, so that what the engine needs (some eighty
// modules) is no part of the product.
//
// The engine goes from one question to its user to the next: may the offer be
// taken, with which transaction code; may the credential be kept. The steps
// answer them. It tells the issuer nothing of the end: it sends no notification.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/privacybydesign/irmago/common/clientmodels"
	"github.com/privacybydesign/irmago/eudi"
	"github.com/privacybydesign/irmago/eudi/credentials/sdjwtvc"
	"github.com/privacybydesign/irmago/eudi/credentials/statuslist"
	"github.com/privacybydesign/irmago/eudi/openid4vci"
	"github.com/privacybydesign/irmago/eudi/services"
	"github.com/privacybydesign/irmago/eudi/storage"
	"github.com/privacybydesign/irmago/eudi/storage/db"
	"github.com/privacybydesign/irmago/eudi/storage/filesystem"
	"github.com/sirupsen/logrus"
	"gorm.io/driver/sqlite"
	_ "modernc.org/sqlite" // the driver "sqlite", in pure Go
)

func main() {
	eudi.Logger = logrus.New() // to standard error
	answers, err := apart()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "yivi-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	w := &wallet{dir: dir, questions: make(chan question)}
	err = serve(os.Stdin, json.NewEncoder(answers), map[string]func(step) (any, error){
		"resolve": w.resolve, "redeem": w.redeem, "keep": w.keep, "decline": w.decline, "refresh": w.refresh,
	})
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// apart gives what was standard output, for the answers alone. What the engine's
// database library prints there, such as of a slow statement, goes to standard
// error from now on.
func apart() (*os.File, error) {
	out, err := syscall.Dup(syscall.Stdout)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(out)
	return os.NewFile(uintptr(out), "answers"), syscall.Dup3(syscall.Stderr, syscall.Stdout, 0)
}

// step is what the test asks for.
type step struct {
	Step     string
	OfferURI string
	Issuer   string // whose anchor is trusted
	TxCode   *string
}

// serve carries out steps until in ends.
func serve(in io.Reader, out *json.Encoder, steps map[string]func(step) (any, error)) error {
	if err := out.Encode(map[string]any{"done": struct{}{}}); err != nil { // ready
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return err
		}
		answer := map[string]any{}
		if done, err := steps[s.Step](s); err != nil {
			answer["refused"] = map[string]any{"name": "Yivi", "message": err.Error()}
		} else {
			answer["done"] = done
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// wallet is the engine with a store of its own.
type wallet struct {
	dir       string
	questions chan question
	asked     question // the one that waits for an answer
	service   services.CredentialService
	status    *services.RevocationService
}

// open makes the engine, which trusts one issuer's anchor.
func (w *wallet) open(issuer string) (*openid4vci.Client, error) {
	anchor, err := get(issuer + "/ca.pem")
	if err != nil {
		return nil, err
	}
	dialector := sqlite.New(sqlite.Config{DriverName: "sqlite", DSN: w.dir + "/wallet.db"})
	kept, err := storage.NewStorageWithDialector(dialector, filesystem.NewFileSystemStorage([32]byte{1}, w.dir))
	if err != nil {
		return nil, err
	}
	config, err := eudi.NewConfiguration(kept)
	if err != nil {
		return nil, err
	}
	trust := sdjwtvc.CreateDefaultVerificationContext(anchor)
	checker := statuslist.NewChecker(statuslist.VerificationContext{
		X509Context: trust.X509VerificationContext, Clock: trust.Clock, HTTPClient: http.DefaultClient,
	}, nil)
	trust.StatusChecker = checker
	credentials := db.NewCredentialStore(kept.Db())
	locale := clientmodels.NewCurrentLocale("en")
	w.status = services.NewRevocationService(checker, credentials)
	w.service = services.NewCredentialService(credentials, db.NewHolderBindingKeyStore(kept.Db()), kept.FileSystem(), w.status, locale)
	return openid4vci.NewClient(http.DefaultClient, config, sdjwtvc.NewHolderVerificationProcessor(trust),
		w.service, services.NewHolderBindingKeyService(kept.Db()), locale)
}

func get(url string) ([]byte, error) {
	r, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	return io.ReadAll(r.Body)
}

// The steps.

// resolve has the engine look at an offer, until it asks whether to take it.
func (w *wallet) resolve(s step) (any, error) {
	engine, err := w.open(s.Issuer)
	if err != nil {
		return nil, err
	}
	engine.NewSession(1, s.OfferURI, "https://wallet.example/callback", handler{w.questions})
	return w.next()
}

// redeem takes the offer, with a transaction code where one is wanted: the
// engine gets the credentials and asks whether to keep them, or it asks for the
// code again.
func (w *wallet) redeem(s step) (any, error) {
	w.asked.take(s.TxCode)
	return w.next()
}

// keep keeps the credentials, and counts what the wallet holds.
func (w *wallet) keep(step) (any, error) {
	w.asked.take(nil)
	if _, err := w.next(); err != nil {
		return nil, err
	}
	all, err := w.service.GetCredentialMetadataList()
	return map[string]int{"kept": len(all)}, err
}

// refresh looks the status lists up again, and counts what is revoked; the
// engine counts what is suspended, too.
func (w *wallet) refresh(step) (any, error) {
	if _, err := w.status.RefreshStatuses(context.Background()); err != nil {
		return nil, err
	}
	all, err := w.service.GetCredentialMetadataList()
	revoked := 0
	for _, c := range all {
		if c.Revoked {
			revoked++
		}
	}
	return map[string]int{"revoked": revoked}, err
}

// decline answers no.
func (w *wallet) decline(step) (any, error) {
	w.asked.leave()
	return w.next()
}

// next waits for the engine's next question, or its end.
func (w *wallet) next() (any, error) {
	select {
	case w.asked = <-w.questions:
		return w.asked.shown, w.asked.err
	case <-time.After(30 * time.Second):
		return nil, errors.New("the engine asks nothing, and does not end")
	}
}

// question is what the engine asks its user, or how it ended.
type question struct {
	shown any
	err   error
	take  func(txCode *string)
	leave func()
}

// handler turns the engine's questions into values.
type handler struct{ questions chan<- question }

func (h handler) Success(string, []*clientmodels.Credential) {
	h.questions <- question{shown: "kept"}
}

func (h handler) Cancelled() { h.questions <- question{shown: map[string]bool{"cancelled": true}} }

func (h handler) Failure(e *clientmodels.SessionError) {
	h.questions <- question{err: errors.New(e.WrappedError)}
}

func (h handler) RequestPreAuthorizedCodeFlowPermission(r *clientmodels.PreAuthorizedCodeFlowPermissionRequest, issuer *clientmodels.TrustedParty, answer openid4vci.TokenPermissionHandler) {
	types := []string{}
	for _, c := range r.Credentials {
		types = append(types, c.CredentialId)
	}
	h.questions <- question{
		shown: map[string]any{"issuer": issuer.Id, "types": types, "txCode": r.TransactionCodeParameters, "remaining": r.RemainingAttempts},
		take:  func(txCode *string) { answer(true, txCode) },
		leave: func() { answer(false, nil) },
	}
}

func (h handler) RequestAuthorizationCodeFlowPermission(*clientmodels.AuthorizationCodeFlowRequest, *clientmodels.TrustedParty, openid4vci.AuthCodeHandler) {
	h.questions <- question{err: errors.New("the engine wants another flow")}
}

func (h handler) RequestPermission(offered []*clientmodels.Credential, _ *clientmodels.TrustedParty, answer openid4vci.PermissionHandler) {
	credentials := []map[string]any{}
	for _, c := range offered {
		claims := map[string]any{}
		for _, a := range c.Attributes {
			claims[fmt.Sprint(a.ClaimPath...)] = a.Value
		}
		credentials = append(credentials, map[string]any{"type": c.CredentialId, "name": c.Name, "claims": claims})
	}
	h.questions <- question{
		shown: map[string]any{"credentials": credentials},
		take:  func(*string) { answer(true) },
		leave: func() { answer(false) },
	}
}

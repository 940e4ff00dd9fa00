package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// endpointForm is the form of a new endpoint, or of one that is there.
type endpointForm struct {
	ID          string // of the one that is there
	NewID       string
	URL         string
	Description string
	Types       []typeChoice
	Headers     string // a line each: Name: value
	RateLimit   string
	MaxInFlight string
	Schedule    string
	V1a         bool
	Errors      formErrors
}

// More tells whether the settings that few need are to be open.
func (f endpointForm) More() bool {
	for _, field := range []string{"id", "maxInFlight", "rateLimit", "retrySchedule", "headers", "signatures"} {
		if f.Errors[field] != "" {
			return true
		}
	}
	return f.Headers != "" || f.RateLimit != "" || f.Schedule != "" || f.V1a
}

// typeChoice is an event type that can be chosen.
type typeChoice struct {
	tidings.EventTypeInfo
	Chosen bool
}

// formErrors says what is wrong with a form, by the name of the field; the empty
// name is for what belongs to none.
type formErrors map[string]string

// formErrorsOf turns an error into those of a form; ok is false where it is not
// the form's fault. A pointer names the field with its first part.
func formErrorsOf(err error) (out formErrors, ok bool) {
	e, is := errors.AsType[*tidings.Error](err)
	if !is || e.Kind != tidings.KindInvalid && e.Kind != tidings.KindConflict && e.Kind != tidings.KindLimited {
		return nil, false
	}
	field, _, _ := strings.Cut(strings.TrimPrefix(e.Pointer, "/"), "/")
	return formErrors{field: e.Message}, true
}

func typeChoices(chosen []tidings.EventType) (out []typeChoice) {
	for _, info := range tidings.EventTypes() {
		if strings.Contains(string(info.Type), ".verification.") && !slices.Contains(chosen, info.Type) {
			continue // none is made at present
		}
		out = append(out, typeChoice{info, slices.Contains(chosen, info.Type)})
	}
	return out
}

func (c *Console) newEndpoint(context.Context, *request) (answer, error) {
	return endpointFormAnswer(endpointForm{Types: typeChoices(nil), MaxInFlight: strconv.Itoa(tidings.DefaultMaxInFlight)}, nil), nil
}

func endpointFormAnswer(f endpointForm, wrong formErrors) answer {
	f.Errors = wrong
	a := answer{page: "endpoint-form", title: "New endpoint", section: "endpoints", body: f}
	if f.ID != "" {
		a.title = "Edit " + f.ID
	}
	if wrong != nil {
		a.status = http.StatusBadRequest
	}
	return a
}

// readEndpointForm reads what was sent, and keeps it for showing it again.
func readEndpointForm(r *request) (f endpointForm, s tidings.Settings, err error) {
	get := func(name string) string { return strings.TrimSpace(r.form.Get(name)) }
	for _, name := range r.form["types"] {
		s.FilterTypes = append(s.FilterTypes, tidings.EventType(name))
	}
	f = endpointForm{NewID: get("id"), URL: get("url"), Description: get("description"), Types: typeChoices(s.FilterTypes),
		Headers: r.form.Get("headers"), RateLimit: get("rateLimit"), MaxInFlight: get("maxInFlight"), Schedule: get("retrySchedule"),
		V1a: get("v1a") != ""}
	s.URL, s.Description, s.Signatures = f.URL, f.Description, []string{tidings.SignatureV1}
	if f.V1a {
		s.Signatures = append(s.Signatures, tidings.SignatureV1a)
	}
	if s.Headers, err = readHeaders(f.Headers); err != nil {
		return f, s, err
	}
	if f.RateLimit != "" {
		if s.RateLimit, err = strconv.ParseFloat(f.RateLimit, 64); err != nil {
			return f, s, tidings.Invalid("/rateLimit", "This must be a number of attempts per second.")
		}
	}
	if f.MaxInFlight != "" {
		if s.MaxInFlight, err = strconv.Atoi(f.MaxInFlight); err != nil {
			return f, s, tidings.Invalid("/maxInFlight", "This must be a number from 1 to %d.", tidings.MaxEndpointInFlight)
		}
	}
	s.RetrySchedule, err = readSchedule(f.Schedule)
	return f, s, err
}

// readHeaders reads lines of "Name: value".
func readHeaders(text string) (map[string]string, error) {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, tidings.Invalid("/headers", "Each line is a header: its name, a colon, its value.")
		}
		if _, twice := out[strings.TrimSpace(name)]; twice {
			return nil, tidings.Invalid("/headers", "A header stands there twice.")
		}
		out[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return out, nil
}

// readSchedule reads delays such as "5s, 5m, 2h".
func readSchedule(text string) (out []time.Duration, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		d, err := time.ParseDuration(word)
		if err != nil || d%time.Second != 0 {
			return nil, tidings.Invalid("/retrySchedule", "Write the delays as 5s, 5m, 2h: whole seconds, minutes or hours.")
		}
		out = append(out, d)
	}
	return out, nil
}

func (c *Console) createEndpoint(ctx context.Context, r *request) (answer, error) {
	f, settings, err := readEndpointForm(r)
	var e tidings.Endpoint
	if err == nil {
		wanted := tidings.NewEndpoint{ID: f.NewID, Settings: settings, Origin: r.origin()}
		if err = wanted.Check(); err == nil {
			err = c.checkURL(settings.URL)
		}
		if err == nil {
			e, err = c.cfg.Endpoints.CreateEndpoint(ctx, r.org(), wanted)
		}
	}
	if wrong, ok := formErrorsOf(err); ok {
		return endpointFormAnswer(f, wrong), nil
	}
	return answer{redirect: link("/endpoints/"+e.ID, "done", "created")}, err
}

func (c *Console) checkURL(url string) error {
	if err := c.cfg.CheckURL(url); err != nil {
		return tidings.Invalid("/url", "%s", err)
	}
	return nil
}

func (c *Console) editEndpoint(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	f := endpointForm{ID: e.ID, URL: e.URL, Description: e.Description, Types: typeChoices(e.FilterTypes),
		MaxInFlight: strconv.Itoa(e.MaxInFlight), V1a: slices.Contains(e.Signatures, tidings.SignatureV1a)}
	if e.RateLimit > 0 {
		f.RateLimit = strconv.FormatFloat(e.RateLimit, 'f', -1, 64)
	}
	var lines []string
	for name := range e.Headers {
		lines = append(lines, name+": "+tidings.HiddenValue)
	}
	slices.Sort(lines)
	f.Headers = strings.Join(lines, "\n")
	var delays []string
	for _, d := range e.RetrySchedule {
		delays = append(delays, shortDelay(d))
	}
	f.Schedule = strings.Join(delays, ", ")
	return endpointFormAnswer(f, nil), nil
}

// shortDelay writes a delay as readSchedule reads it.
func shortDelay(d time.Duration) string {
	text := d.String()
	text = strings.TrimSuffix(text, "m0s")
	if text != d.String() {
		text += "m"
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (c *Console) updateEndpoint(ctx context.Context, r *request) (answer, error) {
	e, err := c.endpoint(ctx, r)
	if err != nil {
		return answer{}, err
	}
	f, s, err := readEndpointForm(r)
	f.ID = e.ID
	if err == nil && s.URL != e.URL {
		err = c.checkURL(s.URL)
	}
	if err == nil {
		if s.MaxInFlight == 0 {
			s.MaxInFlight = tidings.DefaultMaxInFlight
		}
		_, err = c.cfg.Endpoints.UpdateEndpoint(ctx, r.org(), e.ID, tidings.EndpointPatch{
			URL: &s.URL, Description: &s.Description, FilterTypes: &s.FilterTypes, Headers: &s.Headers, RateLimit: &s.RateLimit,
			MaxInFlight: &s.MaxInFlight, RetrySchedule: &s.RetrySchedule, Signatures: &s.Signatures, Origin: r.origin(),
		})
	}
	if wrong, ok := formErrorsOf(err); ok {
		return endpointFormAnswer(f, wrong), nil
	}
	return answer{redirect: link("/endpoints/"+e.ID, "done", "saved")}, err
}

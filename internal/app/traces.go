package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel" // what every collector of traces understands; kept by the CNCF
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"tidings"
	"tidings/internal/console"
	"tidings/internal/delivery"
	"tidings/internal/server"
)

// traces follow a request over the commit of what it changed to each attempt to
// deliver what that led to. They hold no body, no path as it was asked for, no
// address of a person. A nil *traces traces nothing.
type traces struct {
	provider   *sdktrace.TracerProvider
	tracer     trace.Tracer
	toReceiver bool // receivers are sent a traceparent
}

// w3c reads and writes places in traces (W3C Trace Context).
var w3c propagation.TraceContext

const traceparentName = "traceparent"

// tracesEnd is how long a stop waits for the last spans to be taken.
const tracesEnd = 5 * time.Second

// newTraces gives nil unless traces are switched on. Where they go to, how many
// are taken and what else they say stands in the environment, in the variables
// of OpenTelemetry (OTEL_…).
func newTraces(ctx context.Context, cfg Config) (*traces, error) {
	if !cfg.Traces {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("sending traces: %w", err)
	}
	named, err := resource.Merge(resource.NewSchemaless(attribute.String("service.name", "tidings"), attribute.String("service.version", cfg.Version)), resource.Environment())
	if err != nil {
		return nil, fmt.Errorf("reading OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	// The library has one place for its errors; they are all of this kind.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Log.Warn("traces are lost", "error", err) }))
	t := &traces{provider: sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(named)), toReceiver: cfg.Traceparent}
	t.tracer = t.provider.Tracer("tidings")
	return t, nil
}

// close has the last spans sent.
func (t *traces) close(log *slog.Logger) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesEnd)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		log.Warn("the last traces are lost", "error", err)
	}
}

// untraced are paths that machines ask for all the time, and texts.
var untraced = []string{"/healthz", "/readyz", "/metrics", "/docs", console.Prefix + "/assets/"}

// requests traces what next answers, in the trace that the caller began, if one.
func (t *traces) requests(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, path := range untraced {
			if strings.HasPrefix(r.URL.Path, path) {
				next.ServeHTTP(w, r)
				return
			}
		}
		ctx := r.Context()
		if strings.HasPrefix(r.URL.Path, server.Prefix+"/") { // wallets and browsers are strangers: their traces begin here
			ctx = w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))
		}
		ctx, span := t.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		r = r.WithContext(ctx)
		next.ServeHTTP(answer, r)
		method, route := tracedRoute(r)
		span.SetName(method + " " + route)
		span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route), attribute.Int("http.response.status_code", answer.status))
		if answer.status >= 500 {
			span.SetStatus(codes.Error, "")
		}
	})
}

// tracedRoute gives the method and the pattern that answered: nothing of them
// is what a stranger made up.
func tracedRoute(r *http.Request) (method, route string) {
	method, route = "_OTHER", r.Pattern
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		method = r.Method
	}
	if _, path, ok := strings.Cut(route, " "); ok {
		route = path
	}
	if route == "/" || route == "" {
		route = "unknown"
	}
	return method, route
}

// statusWriter keeps the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	begun  bool
}

// WriteHeader keeps the first status.
func (w *statusWriter) WriteHeader(status int) {
	if !w.begun {
		w.status, w.begun = status, status >= 200
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets streams reach what is below.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// commits gives what the store begins spans with: from the wish to write until
// that is on disk.
func (t *traces) commits() func(context.Context) (string, func(error)) {
	if t == nil {
		return nil
	}
	return func(ctx context.Context) (string, func(error)) {
		if !trace.SpanContextFromContext(ctx).IsSampled() { // nobody follows the request
			return "", func(error) {}
		}
		ctx, span := t.tracer.Start(ctx, "commit")
		return traceparentOf(ctx), func(err error) {
			if kind := tidings.KindOf(err); err != nil && (kind == tidings.KindUnavailable || kind == tidings.KindInternal) {
				span.SetStatus(codes.Error, "not stored")
			}
			span.End()
		}
	}
}

func traceparentOf(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	return carrier[traceparentName]
}

// attempts gives what the engine begins spans with.
func (t *traces) attempts() func(*tidings.PendingDelivery, string) (string, func(delivery.Answer)) {
	if t == nil {
		return nil
	}
	return func(d *tidings.PendingDelivery, target string) (traceparent string, end func(delivery.Answer)) {
		ctx := w3c.Extract(context.Background(), propagation.MapCarrier{traceparentName: d.Trace})
		ctx, span := t.tracer.Start(ctx, "attempt", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("http.request.method", http.MethodPost), attribute.String("tidings.event.id", d.EventID),
			attribute.String("tidings.event.type", string(d.EventType)), attribute.Int("tidings.attempt", d.AttemptCount+1)))
		if u, err := url.Parse(target); err == nil {
			span.SetAttributes(attribute.String("server.address", u.Hostname()))
		}
		if t.toReceiver {
			traceparent = traceparentOf(ctx)
		}
		return traceparent, func(a delivery.Answer) { endAttempt(span, a) }
	}
}

func endAttempt(span trace.Span, a delivery.Answer) {
	defer span.End()
	if a.StatusCode != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", a.StatusCode))
	}
	for _, part := range []struct {
		name string
		took time.Duration
	}{{"dns", a.Timing.DNS}, {"connect", a.Timing.Connect}, {"tls", a.Timing.TLS}, {"wait", a.Timing.Wait}} {
		if part.took > 0 {
			span.SetAttributes(attribute.Float64("tidings.timing."+part.name+"_ms", float64(part.took.Microseconds())/1000))
		}
	}
	if a.ErrorCode != "" {
		span.SetAttributes(attribute.String("error.type", a.ErrorCode))
	}
	if a.ErrorCode != "" || a.StatusCode/100 != 2 {
		span.SetStatus(codes.Error, "")
	}
}

// logs names the trace in each line of the log that belongs to one.
func (t *traces) logs(log *slog.Logger) *slog.Logger {
	if t == nil {
		return log
	}
	return slog.New(tracedLog{log.Handler()})
}

type tracedLog struct{ slog.Handler }

// Handle adds the trace's id.
func (h tracedLog) Handle(ctx context.Context, r slog.Record) error {
	if in := trace.SpanContextFromContext(ctx); in.IsValid() {
		r.AddAttrs(slog.String("trace_id", in.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the handler what it is.
func (h tracedLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tracedLog{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the handler what it is.
func (h tracedLog) WithGroup(name string) slog.Handler { return tracedLog{h.Handler.WithGroup(name)} }

// checkTraces reports the mistakes in the settings of traces.
func (c Config) checkTraces() error {
	if c.Traceparent && !c.Traces {
		return errors.New("traceparent belongs to traces: switch traces on, too")
	}
	return nil
}

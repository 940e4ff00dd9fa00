package server

import (
	"strings"

	"tidings"
)

// webhooks describes what endpoints receive: one entry for each event type.
func webhooks() object {
	out := object{}
	for _, info := range tidings.EventTypes() {
		out[string(info.Type)] = object{"post": describeWebhook(info)}
	}
	return out
}

func describeWebhook(info tidings.EventTypeInfo) object {
	text := info.Description + " Sent to endpoints without filterTypes, and to those whose filterTypes name it."
	if info.OptIn {
		text = info.Description + " Sent only to endpoints whose filterTypes name it."
	}
	return object{
		"operationId": "on" + camel(strings.Split(string(info.Type), ".")[1:]),
		"summary":     info.Description,
		"description": text + " The body's bytes are the same on every attempt. Verify the signature, drop a webhook-id that was seen before, answer 2xx, then work.",
		"security":    []object{}, // the signature authenticates it
		"parameters":  webhookHeaders,
		"requestBody": object{"required": true, "content": object{"application/json": object{
			"schema": eventSchema(info.Type), "example": exampleEvent(info.Type)}}},
		"responses": webhookAnswers,
	}
}

var webhookHeaders = []object{
	webhookHeader("webhook-id", "The event's id: the same for every attempt and every endpoint. What duplicates are told by.", idPattern, exampleAccepted.ID),
	webhookHeader("webhook-timestamp", "When this attempt was made, in seconds since 1970. Refuse what is over five minutes away from now.", `^[0-9]+$`, "1735689600"),
	webhookHeader("webhook-signature", "Signatures separated by spaces, one of which must match: v1, and the base64 of HMAC-SHA256 over webhook-id, full stop, webhook-timestamp, full stop, body. The key is the base64 behind whsec_ in the endpoint's secret. Endpoints that ask for it get v1a, too: Ed25519, with the key of /.well-known/webhook-keys/{id}.",
		`^v1,[A-Za-z0-9+/]{43}=( v1a?,[A-Za-z0-9+/]+={0,2})*$`, "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
	webhookHeader("webhook-attempt", "1 for the first attempt, 2 for the second, and so on. It is not signed: decide nothing by it.", `^[1-9][0-9]*$`, "1"),
	{"name": "webhook-test", "in": "header", "description": "There where it is a sample that the organisation asked for.", "schema": object{"type": "string", "const": "true"}},
}

func webhookHeader(name, text, pattern, example string) object {
	return object{"name": name, "in": "header", "required": true, "description": text, "schema": object{"type": "string", "pattern": pattern}, "example": example}
}

var webhookAnswers = object{
	"2XX":     object{"description": "Received, if it comes within 15 seconds. It is not sent again."},
	"3XX":     object{"description": "A failure: redirects are never followed. Register the final URL."},
	"410":     object{"description": "The endpoint is disabled at once; its deliveries stay pending."},
	"429":     object{"description": "A failure. With Retry-After, nothing is sent to the endpoint before that time, at most 24 hours.", "headers": webhookRetry},
	"503":     object{"description": "A failure. With Retry-After, nothing is sent to the endpoint before that time, at most 24 hours.", "headers": webhookRetry},
	"default": object{"description": "A failure, as is no answer in time. It is tried again by the retry schedule: after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, each up to 20 % shorter or longer, unless the installation says otherwise."},
}

var webhookRetry = object{"Retry-After": object{"description": "Seconds, or an HTTP date.", "schema": object{"type": "string"}}}

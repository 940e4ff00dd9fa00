package server

import (
	"context"
	"slices"

	"tidings"
)

// EventType is an event type with all that a receiver must know of it.
type EventType struct {
	Name        tidings.EventType   `json:"name"`
	Aliases     []tidings.EventType `json:"aliases"`
	Description string              `json:"description"`
	OptIn       bool                `json:"optIn"`
	Schema      map[string]any      `json:"schema"`
	Example     tidings.EventBody   `json:"example"`
}

// The ids of the mission's document.
const (
	exampleIssuance   = "cmfwfjxdq003js601bmgy9tva"
	exampleCredential = "cm7d9cq5600pzk3zq9wzxxtc3"
	exampleEndpointID = "du398r0fqd"
)

func (s *Server) listEventTypes(context.Context, *call, none) ([]EventType, error) {
	infos := tidings.EventTypes()
	out := make([]EventType, len(infos))
	for i, info := range infos {
		schema := eventSchema(info.Type)
		schema["$schema"], schema["title"] = schemaDialect, string(info.Type)
		out[i] = EventType{
			Name: info.Type, Aliases: info.Aliases, Description: info.Description, OptIn: info.OptIn,
			Schema: schema, Example: exampleEvent(info.Type),
		}
	}
	return out, nil
}

// schemaDialect is the version of JSON Schema that is written here, which is
// also that of OpenAPI 3.1.
const schemaDialect = "https://json-schema.org/draft/2020-12/schema"

// eventSchema describes the body of a webhook. It is open: members may be
// added, as receivers that verify the signature can trust them.
func eventSchema(t tidings.EventType) object {
	payload := object{
		"type": "object", "required": []string{"openId4VcIssuanceId"},
		"description": "Refers to the issuance; read the rest with GET " + Prefix + "/credentials/{id}.",
		"properties": object{
			"openId4VcIssuanceId": object{"type": "string", "pattern": issuanceIDPattern},
		},
	}
	if slices.Contains(tidings.CredentialEventTypes, t) {
		payload["required"] = []string{"openId4VcIssuanceId", "openId4VcCredentialId"}
		payload["properties"].(object)["openId4VcCredentialId"] = object{"type": "string", "pattern": idPattern}
	}
	if slices.Contains(tidings.OperationalEventTypes, t) {
		payload = object{
			"type": "object", "required": []string{"endpointId"},
			"description": "Refers to the endpoint; read the rest with GET " + Prefix + "/endpoints/{id}.",
			"properties": object{
				"endpointId": object{"type": "string", "pattern": endpointIDPattern},
				"reason":     object{"type": "string", "enum": disabledReasonNames, "description": "Why it was disabled."},
			},
		}
	}
	return object{
		"type": "object", "required": []string{"eventType", "payload"},
		"properties": object{"eventType": object{"type": "string", "const": string(t)}, "payload": payload},
	}
}

// exampleEvent gives a body of the type.
func exampleEvent(t tidings.EventType) tidings.EventBody {
	out := tidings.EventBody{EventType: t, Payload: tidings.EventPayload{OpenID4VCIssuanceID: exampleIssuance}}
	if slices.Contains(tidings.CredentialEventTypes, t) {
		out.Payload.OpenID4VCCredentialID = exampleCredential
	}
	if slices.Contains(tidings.OperationalEventTypes, t) {
		out.Payload = tidings.EventPayload{EndpointID: exampleEndpointID}
	}
	if t == tidings.EndpointWasDisabled {
		out.Payload.Reason = tidings.DisabledFailing
	}
	return out
}

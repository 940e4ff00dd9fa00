// Package client is the Go client of the Tidings HTTP API: endpoints, events,
// deliveries, credential templates and issuances of one organisation.
//
//	c, err := client.New(client.Config{URL: "https://tidings.example", ClientID: id, ClientSecret: secret})
//	...
//	issuance, err := c.CreateIssuance(ctx, client.NewIssuance{
//		CredentialTemplateID: template,
//		Attributes:           map[string]any{"holder_name": "Zainab"},
//	})
//
// Access tokens are fetched and renewed behind the calls. A refusal is an
// [*Error]; lists are iterators that fetch page after page while they are
// ranged over:
//
//	for delivery, err := range c.Deliveries(ctx, client.DeliveryQuery{Status: tidings.DeliveryFailed}) {
//		...
//	}
//
// A call that reads, or that may safely be made twice, is repeated a few times
// where the server is too busy or cannot be reached. To receive webhooks, see
// package webhook.
package client

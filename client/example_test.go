package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"tidings"
	"tidings/client"
)

// Offer a credential, and look at what could not be delivered.
func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{
		URL:          os.Getenv("TIDINGS_URL"),
		ClientID:     os.Getenv("TIDINGS_CLIENT_ID"),
		ClientSecret: os.Getenv("TIDINGS_CLIENT_SECRET"),
	})
	if err != nil {
		log.Fatal(err)
	}
	issuance, err := c.CreateIssuance(ctx, client.NewIssuance{
		CredentialTemplateID: "cm2ytsdid009u4ke3t30aiuvc",
		Attributes:           map[string]any{"holder_name": "Zainab"},
	}, client.IdempotencyKey("order-17"))
	if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Status == 400 {
		log.Fatalf("%s is wrong: %s", refusal.Pointer, refusal.Detail)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(issuance.OfferURI)

	for delivery, err := range c.Deliveries(ctx, client.DeliveryQuery{Status: tidings.DeliveryFailed}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(delivery.EventID, delivery.Reason)
	}
}

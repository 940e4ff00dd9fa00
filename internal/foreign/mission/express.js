const processedWebhooks = new Set();
const eventQueue = [];

app.post('/webhooks/credentials', async (req, res) => {
  try {
    const webhookId = req.headers['webhook-id'];
    const { eventType, payload } = req.body;

    // Deduplicate — the platform may send the same webhook more than once
    if (processedWebhooks.has(webhookId)) {
      console.log(`Webhook ${webhookId} already processed, skipping`);
      return res.status(200).send('OK');
    }

    const webhookEvent = {
      webhookId,
      eventType,
      payload,
      receivedAt: new Date(),
      processed: false
    };

    eventQueue.push(webhookEvent);
    processedWebhooks.add(webhookId);

    // Respond immediately, then process asynchronously
    res.status(200).send('OK');
    setImmediate(() => processWebhookAsync(webhookEvent));

  } catch (error) {
    console.error('Failed to store webhook:', error);
    res.status(500).json({ error: 'Failed to process webhook' });
  }
});

async function processWebhookAsync(webhookEvent) {
  try {
    console.log(`Processing webhook ${webhookEvent.webhookId}: ${webhookEvent.eventType}`);

    if (webhookEvent.eventType === 'openid4vc.issuance.completed') {
      console.log(`Credential issued: ${webhookEvent.payload.openId4VcIssuanceId}`);
      // Add your business logic here
    }

    webhookEvent.processed = true;

  } catch (error) {
    console.error(`Failed to process webhook ${webhookEvent.webhookId}:`, error);
  }
}

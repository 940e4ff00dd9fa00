-- Every filter of a list walks an index in which only what matches stands.

-- kind is a delivery's status and event type as one number; see kind.go.
ALTER TABLE queue ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
UPDATE queue SET kind = COALESCE((SELECT CASE e.type
    WHEN 'openid4vc.issuance.offered' THEN 1 WHEN 'openid4vc.issuance.completed' THEN 2
    WHEN 'openid4vc.issuance.partiallyIssued' THEN 3 WHEN 'openid4vc.issuance.failed' THEN 4
    WHEN 'openid4vc.issuance.expired' THEN 5 WHEN 'tidings.endpoint.failing' THEN 11
    WHEN 'tidings.endpoint.disabled' THEN 12 WHEN 'tidings.endpoint.enabled' THEN 13 END
  FROM event e WHERE e.id = queue.event_id), 0);
UPDATE delivery SET kind = CASE status WHEN 'delivered' THEN 100 WHEN 'failed' THEN 200 ELSE 300 END
  + COALESCE((SELECT CASE e.type
    WHEN 'openid4vc.issuance.offered' THEN 1 WHEN 'openid4vc.issuance.completed' THEN 2
    WHEN 'openid4vc.issuance.partiallyIssued' THEN 3 WHEN 'openid4vc.issuance.failed' THEN 4
    WHEN 'openid4vc.issuance.expired' THEN 5 WHEN 'tidings.endpoint.failing' THEN 11
    WHEN 'tidings.endpoint.disabled' THEN 12 WHEN 'tidings.endpoint.enabled' THEN 13 END
  FROM event e WHERE e.id = delivery.event_id), 0);
DROP INDEX delivery_endpoint;
DROP INDEX delivery_undelivered;
DROP INDEX delivery_organisation;
CREATE INDEX delivery_endpoint ON delivery (endpoint_id, kind, id);
CREATE INDEX delivery_organisation ON delivery (organisation_id, kind, id);
CREATE INDEX queue_kind ON queue (endpoint_id, kind, id);

-- Of two indexes that seem equally good, SQLite takes the older one.
DROP INDEX event_feed;
CREATE INDEX event_type ON event (organisation_id, type, position);
CREATE INDEX event_feed ON event (organisation_id, position);

-- status is what the API shows of an issuance; its credentials carry it too.
ALTER TABLE issuance ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE credential ADD COLUMN issuance_status TEXT NOT NULL DEFAULT '';
UPDATE issuance SET status = CASE
  WHEN state = 'redeemed' AND EXISTS (SELECT 1 FROM credential c WHERE c.issuance_id = issuance.id AND c.status = 'issued') THEN 'partiallyIssued'
  WHEN state IN ('redeemed', 'delivered') THEN 'offered'
  ELSE state END;
UPDATE credential SET issuance_status = (SELECT i.status FROM issuance i WHERE i.id = credential.issuance_id);
CREATE INDEX issuance_status ON issuance (organisation_id, status, id);
CREATE INDEX credential_status ON credential (template_id, issuance_status, issuance_id);

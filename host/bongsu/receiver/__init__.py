"""The receiver: registry, store, ingest, incidents, deliveries (DESIGN section 7)."""

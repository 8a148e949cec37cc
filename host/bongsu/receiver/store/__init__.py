"""The store: tables (schema.py), engine and transactions (engine.py), migrations (Alembic)."""

from bongsu.receiver.store.engine import Store, StoreError, open_store, require_database

__all__ = ["Store", "StoreError", "open_store", "require_database"]

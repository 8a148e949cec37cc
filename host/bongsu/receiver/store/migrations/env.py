"""Alembic's entry: runs the migrations on the connection, and in the transaction, that engine.py hands over.

A migration only adds tables, and columns that may be left out: a receiver of the version before goes on working on the
migrated store until it is restarted. Released migrations are never changed (tests/unit/test_store_migrations.py).
"""

from alembic import context

from bongsu.receiver.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()

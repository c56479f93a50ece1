"""Alembic's entry: run by `migrations.upgrade` with a connection that is in a transaction already."""

from alembic import context

from cmd_daemon.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()

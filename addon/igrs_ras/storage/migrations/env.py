"""Runs revisions on the connection that `igrs_ras.storage.migrate` opened, inside its transaction."""

from alembic import context

from igrs_ras.storage.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can, when the driver does not commit by itself: see storage.engine
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()

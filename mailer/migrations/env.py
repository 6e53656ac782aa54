"""Alembic's way into our tables; `mailer.migrate` hands it a connection."""

from alembic import context
from sqlmodel import SQLModel

import mailer.models
import suppression.entries

assert mailer.models
assert suppression.entries

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()

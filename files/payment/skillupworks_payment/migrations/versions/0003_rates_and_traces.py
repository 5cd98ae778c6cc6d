"""How many requests there were, for hosts that share a ledger; and the trace that a payment belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("payments", sa.Column("traceparent", sa.String(55)))
    if op.get_bind().dialect.name == "postgresql":  # in SQLite, a file of its own: see counting.py
        op.create_table(
            "rates",
            sa.Column("key", sa.String(80), primary_key=True),
            sa.Column("requests", sa.BigInteger, nullable=False),
            sa.Column("expires", sa.Float(53), nullable=False),
            prefixes=["UNLOGGED"],  # counts need not survive the server's crash
        )

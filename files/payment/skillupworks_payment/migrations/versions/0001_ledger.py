"""The ledger: payments, claims and outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "payments",
        sa.Column("order_id", sa.String(64), primary_key=True),
        sa.Column("session_id", sa.String(128), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("payment_id", sa.String(128)),
        sa.Column("claim", sa.String(300), nullable=False),
        sa.Column("draft", sa.Text, nullable=False),
        sa.Column("response_status", sa.Integer),
        sa.Column("response_body", sa.Text),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("finished_at", sa.Float(53)),
        sa.Column("checks", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    # The few that are to be looked into, found without reading the many that are done.
    unresolved = sa.text("state IN ('pending', 'unknown', 'closed')")
    op.create_index("payments_unresolved", "payments", ["state"], sqlite_where=unresolved, postgresql_where=unresolved)
    op.create_table(
        "claims",
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("order_id", sa.String(64), nullable=False, unique=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("problem", sa.String(200)),
        sqlite_autoincrement=True,
    )

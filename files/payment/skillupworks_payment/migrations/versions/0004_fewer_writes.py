"""No index is written for a payment that is never found by it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_index("payments_unresolved", "payments")  # 0002 replaced it; by now the release before does without as well
    op.drop_index("payments_gateway_order", "payments")
    known = sa.text("gateway_order_id IS NOT NULL")
    columns = ["gateway_order_id"]
    op.create_index(
        "payments_gateway_order", "payments", columns, unique=True, sqlite_where=known, postgresql_where=known
    )

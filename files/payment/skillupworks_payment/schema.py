"""The tables of the ledger as this release uses them. `migrations` makes them; amounts are in minor units, times in
seconds since 1970.

`payments` is the book: one row for each attempt to take money, written before the gateway is asked and never deleted.
`claims` says which payment a repeated request belongs to: its primary key keeps two requests from both charging.
`outbox` holds the order events that RabbitMQ has not confirmed yet, `inbox` what the gateway told by webhook.
"""

from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, String, Table, Text, text

metadata = MetaData()

# SQLite numbers rows by itself only in a column of its own INTEGER type.
_Sequence = BigInteger().with_variant(Integer, "sqlite")

# How a payment can stand. `pending`, `capturing` and `unknown` are unresolved: the gateway may have taken the money.
PENDING = "pending"  # a request is asking the gateway, or died while it was
AWAITING = "awaiting"  # the gateway has an order that the customer can pay for; nothing is taken
CAPTURING = "capturing"  # the customer has paid, and one process is asking the gateway to take it, or died while it was
UNKNOWN = "unknown"  # the gateway did not answer in time; nobody asks now
UNRESOLVED = (PENDING, CAPTURING, UNKNOWN)
PAID = "paid"
DECLINED = "declined"
CLOSED = "closed"  # the gateway, asked again, did not know the payment; money that it takes later is given back

payments = Table(
    "payments",
    metadata,
    Column("order_id", String(64), primary_key=True),
    Column("session_id", String(128), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(16), nullable=False),
    Column("payment_id", String(128)),  # the gateway's
    Column("claim", String(300), nullable=False),
    Column("draft", Text, nullable=False),  # the order event as far as it is known before the charge, JSON
    Column("response_status", Integer),  # the answer that a repeated request gets
    Column("response_body", Text),
    Column("created_at", Float(53), nullable=False),
    Column("finished_at", Float(53)),
    Column("checks", Integer, nullable=False, server_default=text("0")),  # how often a closed one was looked into again
    Column("gateway_order_id", String(64), unique=True),  # the order at the gateway that a customer can pay for
    Column("traceparent", String(55)),  # W3C Trace Context, for the order event
)

claims = Table(
    "claims",
    metadata,
    Column("name", String(300), primary_key=True),
    Column("order_id", String(64), nullable=False),
    Column("request_hash", String(64), nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("order_id", String(64), nullable=False, unique=True),
    Column("body", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("problem", String(200)),  # why RabbitMQ did not take it
    sqlite_autoincrement=True,
)

inbox = Table(
    "inbox",
    metadata,
    Column("event_id", String(128), primary_key=True),  # the gateway's; it may send an event again
    Column("order_id", String(64), nullable=False),
    Column("payment_id", String(64)),  # the one that the event is about
    Column("received_at", Float(53), nullable=False),
    Column("settled_at", Float(53)),  # when the order was looked into for it
)

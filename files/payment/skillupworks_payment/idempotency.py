"""Which requests are the same payment.

A client that sends an Idempotency-Key decides that itself. Without one, it is the same cart of the same session.
"""

import hashlib
import json
import re
from typing import Any

from . import card_data, screening
from .errors import invalid
from .ledger import KEY_LIFETIME, Claim
from .upstreams import Cart

KEY = re.compile(r"[\x20-\x7e]{1,255}")


def by_key(key: str, session_id: str, document: dict[str, Any]) -> Claim:
    """The claim of a request with that key; PaymentError 400 when it cannot be one.

    Two bodies are the same when they say the same, however they are written.
    """
    if not KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "Idempotency-Key must be 1 to 255 printable ASCII characters")
    if card_data.in_text(key):
        raise screening.card_data_sent("Idempotency-Key")
    return Claim(f"key:{key}", _hash([session_id, document]), lifetime=KEY_LIFETIME, survives=True)


def by_cart(session_id: str, cart: Cart, window: float) -> Claim:
    """The claim of a request without a key: for `window` seconds, an unchanged cart is not paid for again."""
    content = _hash([session_id, cart.model_dump(mode="json")])
    return Claim(f"cart:{content}", content, lifetime=window, survives=False)


def is_key(claim_name: str) -> bool:
    return claim_name.startswith("key:")


def _hash(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, default=str)  # `default` for the Decimals of strict_json
    return hashlib.sha256(text.encode()).hexdigest()

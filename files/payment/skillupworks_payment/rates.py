"""How many requests one session and one client may make.

The client is who connects, or who a trusted proxy says has connected to it: of the addresses in X-Forwarded-For only
those count that a trusted proxy has written, from the right. IPv6 clients are told apart by their /64, of which one
person has all addresses.
"""

import hashlib
import logging
import math
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from .database import Database, LedgerUnavailable
from .errors import ledger_unavailable, rate_limited
from .settings import Network, Rate

log = logging.getLogger(__name__)


class Rates:
    """Shared by threads. Counts in the database of the ledger, so for all who share that."""

    def __init__(
        self, database: Database, *, session: Rate | None, client: Rate | None, trusted_proxies: tuple[Network, ...]
    ) -> None:
        """None is no limit."""
        self._database = database
        self._session = session
        self._client = client
        self._trusted = trusted_proxies

    def check(self, session_id: str, peer: str, forwarded_for: str) -> None:
        """PaymentError 429 when the session or the client has made too many requests; each request counts for both.

        `peer` is the address that the connection comes from, `forwarded_for` the header. 503 when the requests are
        counted in a database that payments cannot be recorded in either.
        """
        rates: dict[str, tuple[str, Rate]] = {}
        if self._client:
            rates[f"client:{self.client(peer, forwarded_for)}"] = "client", self._client
        if self._session:
            rates[f"session:{hashlib.sha256(session_id.encode()).hexdigest()}"] = "session", self._session
        if not rates:
            return
        try:
            counted = self._database.count({key: float(rate.seconds) for key, (_, rate) in rates.items()})
        except LedgerUnavailable as error:
            log.error("the ledger cannot be used: %s", error)
            raise ledger_unavailable() from error
        for key, now in counted.items():
            whose, rate = rates[key]
            if now.requests > rate.requests:
                raise rate_limited(whose, max(1, math.ceil(now.seconds_left)))

    def client(self, peer: str, forwarded_for: str) -> str:
        """Who the request is counted for."""
        address = _address(peer)
        for said in reversed(forwarded_for.split(",")):
            if address is None or not any(address in network for network in self._trusted):
                break
            if (before := _address(said)) is None:
                break  # not what a proxy writes: then it is the proxy's own
            address = before
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, 64), strict=False))
        return str(address or peer)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

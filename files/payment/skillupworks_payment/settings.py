"""Settings: read from the environment once, checked, and immutable from then on. README.md lists the variables."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# ISO 4217 currencies whose minor unit is not a hundredth; `money` counts in hundredths.
_OTHER_MINOR_UNITS = (
    "BHD BIF CLF CLP DJF GNF IQD ISK JOD JPY KMF KRW KWD LYD OMR PYG RWF TND UGX UYI UYW VND VUV XAF XOF XPF"
)


class SettingsError(Exception):
    """A setting is missing or wrong; the text is one line that names the variable and what to write."""


@dataclass(frozen=True)
class Endpoint:
    """Where another service listens: a host name or IPv4 address and a TCP port."""

    host: str
    port: int


@dataclass(frozen=True)
class RazorpayKeys:
    """What Razorpay's dashboard gives out: the API key and its secret, and what its webhooks are signed with."""

    key_id: str
    key_secret: str = field(repr=False)
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True)
class Rate:
    """So many requests in so many seconds."""

    requests: int
    seconds: int


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Settings:
    """Everything the service can be told. Times are in seconds."""

    cart: Endpoint
    cart_path: str
    user: Endpoint
    user_path: str
    connect_timeout: float
    read_timeout: float
    amqp: Endpoint
    amqp_vhost: str
    amqp_user: str
    amqp_password: str = field(repr=False)
    queue: str
    gateway_url: str
    gateway_timeout: float
    razorpay: RazorpayKeys | None
    checkout_lifetime: float
    ledger_url: str = field(repr=False)
    ledger_password: str | None = field(repr=False)
    duplicate_window: float
    reconcile_interval: float
    currency: str
    bind: str
    port: int
    threads: int
    rate_session: Rate | None
    rate_client: Rate | None
    trusted_proxies: tuple[Network, ...]
    log_dir: Path | None
    shared_dir: Path | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read `environ`; SettingsError on the first variable that is missing or wrong."""
        read = _Reader(environ)
        ledger_url = read.text("PAYMENT_LEDGER_URL", f"sqlite:///{_state_directory(environ)}/ledger.db")
        gateway_url = read.text("PAYMENT_GATEWAY")
        needs_password = re.match(r"postgresql://[^:@/]+@", ledger_url)
        return cls(
            cart=Endpoint(read.host("CART_HOST"), read.port("CART_PORT", 8083)),
            cart_path=read.path("PAYMENT_CART_PATH", "/cart/{session_id}"),
            user=Endpoint(read.host("USER_HOST"), read.port("USER_PORT", 8081)),
            user_path=read.path("PAYMENT_USER_PATH", "/check/{session_id}"),
            connect_timeout=read.seconds("PAYMENT_CONNECT_TIMEOUT", 0.5),
            read_timeout=read.seconds("PAYMENT_READ_TIMEOUT", 2.0),
            amqp=Endpoint(read.host("AMQP_HOST"), read.port("PAYMENT_AMQP_PORT", 5672)),
            amqp_vhost=read.text("PAYMENT_AMQP_VHOST", "/"),
            amqp_user=read.text("AMQP_USER"),
            amqp_password=read.password("AMQP_PASS", credential="amqp_password"),
            queue=read.text("PAYMENT_QUEUE", "order-processing"),
            gateway_url=gateway_url,
            gateway_timeout=read.seconds("PAYMENT_GATEWAY_TIMEOUT", 2.5),
            razorpay=read.razorpay() if gateway_url.startswith("https://") else None,
            checkout_lifetime=float(read.integer("PAYMENT_CHECKOUT_LIFETIME", 1800, 1, 604_800)),
            ledger_url=ledger_url,
            ledger_password=(
                read.password("PAYMENT_LEDGER_PASSWORD", credential="ledger_password") if needs_password else None
            ),
            duplicate_window=float(read.integer("PAYMENT_DUPLICATE_WINDOW", 600, 0, 86_400)),
            reconcile_interval=read.seconds("PAYMENT_RECONCILE_INTERVAL", 30.0),
            currency=read.currency("PAYMENT_CURRENCY", "INR"),
            bind=read.host("PAYMENT_BIND", "0.0.0.0"),
            port=read.port("PAYMENT_PORT", 8084),
            threads=read.integer("PAYMENT_THREADS", 8, 1, 256),
            rate_session=read.rate("PAYMENT_RATE_SESSION", "30/60s"),
            rate_client=read.rate("PAYMENT_RATE_CLIENT", "600/60s"),
            trusted_proxies=read.networks("PAYMENT_TRUSTED_PROXIES"),
            log_dir=read.directory("PAYMENT_LOG_DIR"),
            shared_dir=read.directory("PROMETHEUS_MULTIPROC_DIR"),
        )


def _state_directory(environ: Mapping[str, str]) -> str:
    """What systemd's StateDirectory= made, else the place where that would be."""
    return environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/skillupworks/payment"


def _shown(value: str) -> str:
    """A wrong value for a message, without what may be credentials: somebody may have pasted a URL with a password."""
    return repr(re.sub(r"(?s)^.*(?=@)|(?<=\?).*", "...", value))


class _Reader:
    """Reads one variable at a time; an empty variable counts as missing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str | None = None) -> str:
        value = self._environ.get(name) or default
        if value is None:
            raise SettingsError(f"{name} is not set: write it into the service's environment")
        return value

    def matching(self, name: str, default: str | None, pattern: str, wanted: str) -> str:
        value = self.text(name, default)
        if not re.fullmatch(pattern, value):
            raise SettingsError(f"{name} is {_shown(value)}: write {wanted}")
        return value

    def host(self, name: str, default: str | None = None) -> str:
        return self.matching(name, default, r"[A-Za-z0-9._-]{1,253}", "a host name or an IPv4 address, without a port")

    def path(self, name: str, default: str) -> str:
        return self.matching(
            name, default, r"/[^{}\s]*\{session_id\}[^{}\s]*", "a path with {session_id} in it, such as " + default
        )

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.matching(name, str(default), r"[0-9]{1,9}", f"a whole number from {low} to {high}")
        if not low <= int(value) <= high:
            raise SettingsError(f"{name} is {value}: write a whole number from {low} to {high}")
        return int(value)

    def port(self, name: str, default: int) -> int:
        return self.integer(name, default, 1, 65535)

    def seconds(self, name: str, default: float) -> float:
        wanted = "a number of seconds from 0.01 to 60, such as 1.5"
        value = self.matching(name, str(default), r"[0-9]{1,4}(\.[0-9]{1,6})?", wanted)
        if not 0.01 <= float(value) <= 60:
            raise SettingsError(f"{name} is {value}: write {wanted}")
        return float(value)

    def currency(self, name: str, default: str) -> str:
        wanted = "an ISO 4217 code whose minor unit is a hundredth, such as INR"
        value = self.matching(name, default, r"[A-Z]{3}", wanted)
        if value in _OTHER_MINOR_UNITS.split():
            raise SettingsError(f"{name} is {value}: write {wanted}")
        return value

    def rate(self, name: str, default: str) -> Rate | None:
        wanted = f"requests and seconds such as {default}, or unlimited"
        value = self.matching(name, default, r"[1-9][0-9]{0,5}/[1-9][0-9]{0,4}s|unlimited", wanted)
        return None if value == "unlimited" else Rate(*map(int, value.removesuffix("s").split("/")))

    def networks(self, name: str) -> tuple[Network, ...]:
        value = self._environ.get(name, "")
        try:
            return tuple(ipaddress.ip_network(each.strip()) for each in value.split(",") if each.strip())
        except ValueError as error:
            wanted = "IP addresses or networks such as 10.0.0.5,10.1.0.0/24"
            raise SettingsError(f"{name} is {_shown(value)}: write {wanted}") from error

    def directory(self, name: str) -> Path | None:
        value = self._environ.get(name)
        if not value:
            return None
        if not Path(value).is_dir():
            raise SettingsError(f"{name} is {_shown(value)}: write an existing directory, or leave it out")
        return Path(value)

    def razorpay(self) -> RazorpayKeys:
        wanted = "the key id from Razorpay's dashboard, such as rzp_live_..., which PAYMENT_GATEWAY=https://... needs"
        if not self._environ.get("PAYMENT_RAZORPAY_KEY_ID"):
            raise SettingsError(f"PAYMENT_RAZORPAY_KEY_ID is not set: write {wanted}")
        return RazorpayKeys(
            self.matching("PAYMENT_RAZORPAY_KEY_ID", None, r"[A-Za-z0-9_]{1,64}", wanted),
            self.password("PAYMENT_RAZORPAY_KEY_SECRET", credential="razorpay_key_secret"),
            self.password("PAYMENT_RAZORPAY_WEBHOOK_SECRET", credential="razorpay_webhook_secret"),
        )

    def password(self, name: str, credential: str) -> str:
        """The variable itself, else the systemd credential (LoadCredential=) of that file name, less its line end."""
        if value := self._environ.get(name):
            return value
        wanted = f"set it, or pass the credential {credential} with systemd's LoadCredential="
        if not (directory := self._environ.get("CREDENTIALS_DIRECTORY")):
            raise SettingsError(f"{name} is not set: {wanted}")
        path = Path(directory, credential)
        try:
            value = path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{name} is not set and {path} cannot be read ({type(error).__name__}): {wanted}"
            ) from error
        if not value:
            raise SettingsError(f"{name} is not set and {path} is empty: {wanted}")
        return value

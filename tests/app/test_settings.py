"""A wrong setting stops the service at start, with one line that names the variable."""

import re
import subprocess
import sys

import pytest

from broker import PASSWORD
from service import APP, PYCACHE
from skillupworks_payment import database, gateway
from skillupworks_payment.settings import Rate, Settings, SettingsError

GOOD = {
    "CART_HOST": "10.0.0.2",
    "USER_HOST": "user.example",
    "AMQP_HOST": "10.0.0.4",
    "AMQP_USER": "skillupworks",
    "AMQP_PASS": PASSWORD,
    "PAYMENT_GATEWAY": "sandbox://approve",
}
RAZORPAY = {
    "PAYMENT_GATEWAY": "https://razorpay.com/",
    "PAYMENT_RAZORPAY_KEY_ID": "rzp_test_1DP5mmOlF5G5ag",
    "PAYMENT_RAZORPAY_KEY_SECRET": "the secret of the key",
    "PAYMENT_RAZORPAY_WEBHOOK_SECRET": "the secret of webhooks",
}

NAMES = r"\b(?:CART|USER|AMQP|PAYMENT|PROMETHEUS)_[A-Z_]+\b"
VARIABLES = set(re.findall(f'"({NAMES})"', (APP / "skillupworks_payment" / "settings.py").read_text()))


def test_defaults():
    settings = Settings.from_environment(GOOD)
    assert (settings.cart.port, settings.user.port, settings.amqp.port, settings.port) == (8083, 8081, 5672, 8084)
    assert (settings.queue, settings.currency, settings.amqp_vhost) == ("order-processing", "INR", "/")
    assert settings.connect_timeout + settings.read_timeout < 3
    assert settings.gateway_timeout < 3
    assert (settings.rate_session, settings.rate_client) == (Rate(30, 60), Rate(600, 60))
    assert settings.trusted_proxies == ()
    assert settings.ledger_url == "sqlite:////var/lib/skillupworks/payment/ledger.db"
    directory = Settings.from_environment(GOOD | {"STATE_DIRECTORY": "/a:/b"}).ledger_url
    assert directory == "sqlite:////a/ledger.db"


def test_the_password_is_not_shown():
    assert PASSWORD not in repr(Settings.from_environment(GOOD))


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("missing", [None, ""])
def test_missing(name, missing):
    environment = {key: value for key, value in GOOD.items() if key != name} | ({} if missing is None else {name: ""})
    with pytest.raises(SettingsError, match=f"^{name} is not set: "):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CART_HOST", "http://10.0.0.2"),
        ("USER_HOST", "10.0.0.2:8081"),
        ("CART_PORT", "0"),
        ("USER_PORT", "65536"),
        ("PAYMENT_PORT", "80.5"),
        ("PAYMENT_AMQP_PORT", "amqp"),
        ("PAYMENT_THREADS", "0"),
        ("PAYMENT_CURRENCY", "rupees"),
        ("PAYMENT_CURRENCY", "JPY"),
        ("PAYMENT_CART_PATH", "/cart"),
        ("PAYMENT_USER_PATH", "check/{session_id}"),
        ("PAYMENT_CONNECT_TIMEOUT", "0"),
        ("PAYMENT_READ_TIMEOUT", "soon"),
        ("PAYMENT_GATEWAY_TIMEOUT", "61"),
        ("PAYMENT_RECONCILE_INTERVAL", "never"),
        ("PAYMENT_DUPLICATE_WINDOW", "-1"),
        ("PAYMENT_CHECKOUT_LIFETIME", "0"),
        ("PAYMENT_RATE_SESSION", "30"),
        ("PAYMENT_RATE_SESSION", "0/60s"),
        ("PAYMENT_RATE_CLIENT", "600/60"),
        ("PAYMENT_RATE_CLIENT", "off"),
        ("PAYMENT_TRUSTED_PROXIES", "10.0.0.300"),
        ("PAYMENT_TRUSTED_PROXIES", "frontend"),
        ("PAYMENT_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("PAYMENT_LOG_DIR", "/no/such/directory"),
    ],
)
def test_wrong(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} is .*{value}.*: write ") as raised:
        Settings.from_environment(GOOD | {name: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["amqps://user:se/cret@host:5671", "user:secret word@host", "https://h/?key=secret"])
def test_credentials_of_a_pasted_url_are_not_shown(url):
    """Whatever variable it was pasted into."""
    refused = {}
    for name in sorted(VARIABLES):
        try:
            settings = Settings.from_environment(GOOD | {name: url})
            gateway.from_settings(settings)
            database.from_url(settings.ledger_url, settings.ledger_password)
        except SettingsError as error:
            refused[name] = str(error)
    assert "cret" not in "".join(refused.values())
    assert refused.keys() >= {
        "CART_HOST",
        "AMQP_HOST",
        "PAYMENT_GATEWAY",
        "PAYMENT_LEDGER_URL",
        "PAYMENT_TRUSTED_PROXIES",
    }


@pytest.mark.parametrize(
    "url", ["http://razorpay.com/", "sandbox://", "sandbox://approve?delay=1", "sandbox://host", "stripe://key:secret"]
)
def test_gateway_that_there_is_not(url):
    with pytest.raises(SettingsError, match=r"^PAYMENT_GATEWAY is .*write .*sandbox://approve") as raised:
        gateway.from_settings(Settings.from_environment(GOOD | {"PAYMENT_GATEWAY": url}))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", [name for name in RAZORPAY if name != "PAYMENT_GATEWAY"])
def test_razorpay_without_its_keys(name):
    with pytest.raises(SettingsError, match=f"^{name} is not set: "):
        Settings.from_environment(GOOD | {key: value for key, value in RAZORPAY.items() if key != name})
    assert Settings.from_environment(GOOD | RAZORPAY | {"PAYMENT_GATEWAY": "sandbox://approve"}).razorpay is None


def test_keys_of_razorpay(tmp_path):
    settings = Settings.from_environment(GOOD | RAZORPAY)
    assert isinstance(gateway.from_settings(settings), gateway.RazorpayGateway)
    assert (settings.razorpay.key_secret, settings.checkout_lifetime) == ("the secret of the key", 1800)
    assert "the secret of" not in repr(settings)
    environment = GOOD | RAZORPAY | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    for name in ("key", "webhook"):
        (tmp_path / f"razorpay_{name}_secret").write_text(f"{name} from the file\n")
        del environment[f"PAYMENT_RAZORPAY_{name.upper()}_SECRET"]
    keys = Settings.from_environment(environment).razorpay
    assert (keys.key_secret, keys.webhook_secret) == ("key from the file", "webhook from the file")
    with pytest.raises(SettingsError, match=r"^PAYMENT_RAZORPAY_KEY_ID is 'rzp:test': write the key id"):
        Settings.from_environment(environment | {"PAYMENT_RAZORPAY_KEY_ID": "rzp:test"})


@pytest.mark.parametrize(
    "url", ["sqlite:///relative.db", "mysql://root:secret@host/db", "postgresql://host", "secret", "sqlite://"]
)
def test_ledger_that_cannot_be(url):
    with pytest.raises(SettingsError, match=r"^PAYMENT_LEDGER_URL is .*: write sqlite:////") as raised:
        database.from_url(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgres://u:secret@host/db", "postgresql://u@/db", "postgresql://u@host"])
def test_url_of_postgresql_that_lacks_something(url):
    with pytest.raises(
        SettingsError, match=r"^PAYMENT_LEDGER_URL is .*postgresql://user@host:5432/database$"
    ) as raised:
        database.from_url(url)
    assert "secret" not in str(raised.value)


def test_option_that_postgresql_does_not_have():
    with pytest.raises(SettingsError, match=r"^PAYMENT_LEDGER_URL is wrong behind the \?: .*sslmod") as raised:
        database.from_url("postgresql://u:secret@host/db?sslmod=require")
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_password_of_the_ledger(tmp_path):
    (tmp_path / "ledger_password").write_text("from the file\n")
    url = {"PAYMENT_LEDGER_URL": "postgresql://user@host/db"}
    with pytest.raises(SettingsError, match=r"^PAYMENT_LEDGER_PASSWORD is not set: "):
        Settings.from_environment(GOOD | url)
    environment = GOOD | url | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert Settings.from_environment(environment).ledger_password == "from the file"
    settings = Settings.from_environment(environment | {"PAYMENT_LEDGER_PASSWORD": "the variable"})
    assert settings.ledger_password == "the variable"
    assert "the variable" not in repr(settings)
    assert Settings.from_environment(GOOD | {"PAYMENT_LEDGER_URL": "postgresql://u:p@host/db"}).ledger_password is None


def test_ledger_that_cannot_be_written(tmp_path):
    with pytest.raises(SettingsError, match=r"^PAYMENT_LEDGER_URL is .*/none/ledger.db': write a path .* \("):
        database.from_url(f"sqlite:///{tmp_path}/none/ledger.db").migrate()


def test_password_from_a_credential(tmp_path):
    (tmp_path / "amqp_password").write_text("from the file\n")
    environment = GOOD | {"AMQP_PASS": "", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert Settings.from_environment(environment).amqp_password == "from the file"
    assert Settings.from_environment(environment | {"AMQP_PASS": "set"}).amqp_password == "set"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_credential_that_holds_no_password(tmp_path, content):
    if content is not None:
        (tmp_path / "amqp_password").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^AMQP_PASS is not set and .*amqp_password .*: set it, or pass"):
        Settings.from_environment(GOOD | {"AMQP_PASS": "", "CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_the_service_ends_with_the_one_line(processes):
    environment = GOOD | RAZORPAY | PYCACHE | {"PAYMENT_RAZORPAY_KEY_ID": ""}
    ended = subprocess.run([sys.executable, APP / "payment.py"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("payment: PAYMENT_RAZORPAY_KEY_ID is not set: write the key id from Razorpay's")
    assert ended.stderr.count("\n") == 1


def test_readme_lists_every_variable():
    table = [line for line in (APP / "README.md").read_text().splitlines() if line.startswith("| `")]
    listed = {name for row in table for name in re.findall(NAMES, row.split("|")[1])}
    assert listed == VARIABLES | {"PROMETHEUS_MULTIPROC_DIR"}

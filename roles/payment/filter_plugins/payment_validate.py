"""Find what cannot work in an inventory, on the controller, before any host is touched.

Each filter returns a list of sentences: where, which variable, what it holds, what to write instead. An empty list
means that nothing was found.
"""

import ipaddress
import re

from ansible.module_utils.parsing.convert_bool import boolean

REQUIRED_GROUPS = {
    "payment": "the Payment Service's own hosts",
    "cart": "the Cart Service",
    "user": "the User Service",
    "rabbitmq": "RabbitMQ",
}
OPTIONAL_GROUPS = {"frontend": "the Nginx frontend"}
OLD_NAMES = {"ansible_ssh_host": "ansible_host", "ansible_ssh_port": "ansible_port"}  # Ansible still connects by them
HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
SANDBOX = re.compile(
    r"sandbox://((approve|decline|timeout)/?(\?delay_ms=[0-9]{1,5})?|[A-Za-z0-9._-]{1,253}:[0-9]{1,5}/?)"
)
GATEWAY_HOST = re.compile(r"https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?/?")
MAY_BE_SECRET = re.compile("[@?]")
PLACEHOLDER = re.compile(r"<[A-Z0-9-]+>")  # what the shipped inventories have where a value is to be written
POSTGRESQL = re.compile(r"postgresql://[^\s:@/?#]+@[^\s@/?#]+/[^\s@/?#]+(\?[^\s#]*)?")
UNIT_VALUE = re.compile(r"[^\s\"'\\%]+")  # what a systemd unit takes as it is
PUBLISHED_PASSWORDS = {"skillupworks@123", "Admin@123"}  # printed in the install guide, so known to everyone
SECRETS = (
    "payment_amqp_password",
    "payment_ledger_password",
    "payment_razorpay_key_secret",
    "payment_razorpay_webhook_secret",
)
VAULT = "Put it into group_vars/all/vault.yml beside your hosts.yml, as inventories/vault.example.yml shows."


def shown(value: object) -> str:
    """A wrong value for a message; but for what looks like a URL with a user or a query."""
    return "something that may hold a password" if MAY_BE_SECRET.search(str(value)) else repr(value)


def address_problem(value: object) -> str | None:
    """Say what is wrong with `value` as the address of a host, or return None."""
    text = str(value)
    if not text:
        return "is empty"
    if text.startswith("<") or text.endswith(">"):
        return f"is still the placeholder {text}"
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        if re.fullmatch(r"[0-9.]+", text):
            return f"is {text}, which is no IPv4 address (four numbers from 0 to 255)"
        return (
            None if HOSTNAME.fullmatch(text) else f"is {shown(text)}, which is neither an IPv4 address nor a DNS name"
        )
    if address.is_unspecified or address.is_multicast:
        return f"is {text}, which is not the address of one host"
    return None


def is_loopback(address: str) -> bool:
    """Whether `address` means the host that uses it, so that several inventory hosts may share it."""
    return address == "localhost" or address.startswith("127.")


def payment_inventory_problems(hostvars: dict, groups: dict) -> list[str]:
    """Check the groups and their hosts' addresses."""
    files = {hostvars[host].get("inventory_file") or "the inventory" for host in groups["all"]}
    where = ", ".join(sorted(files))
    problems = [
        f"{where}: group '{group}' has no host. Write the address of {what} there."
        for group, what in REQUIRED_GROUPS.items()
        if not groups.get(group)
    ]
    for host in groups["all"]:
        for old, new in OLD_NAMES.items():
            if old in hostvars[host]:
                file = hostvars[host].get("inventory_file") or "the inventory"
                problems.append(f"{file}: {host}: {old} is an old name, which nothing here reads. Write {new} instead.")
    owners: dict[str, str] = {}
    for group, what in (REQUIRED_GROUPS | OPTIONAL_GROUPS).items():
        for host in groups.get(group, []):
            file = hostvars[host].get("inventory_file") or "the inventory"
            address = str(hostvars[host].get("ansible_host", host))
            name = address.lower().rstrip(".")
            shared = is_loopback(name) and not (group == "payment" and owners.get(name) in groups[group])
            if problem := address_problem(address):
                problems.append(
                    f"{file}: {host}: ansible_host {problem}. Write the address of {what}, for example 172.31.19.139."
                )
            elif owners.setdefault(name, host) != host and not shared:
                problems.append(
                    f"{file}: {host}: ansible_host is {address}, which {owners[name]} has already. "
                    f"Write the address of {what}; a machine that serves both is one host name in both groups."
                )
    return problems


def port_problem(value: object, lowest: int) -> str | None:
    """Say what is wrong with `value` as a TCP port, or return None."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]+", str(value)):
        return f"is {shown(value)}, which is no port"
    if not lowest <= int(value) <= 65535:
        return f"is {value}, which is not from {lowest} to 65535"
    return None


def gateway_problem(url: str, sandbox_allowed: object) -> str | None:
    """Say why the service cannot take money through the gateway at `url`, or return None."""
    if SANDBOX.fullmatch(url):
        if not boolean(sandbox_allowed, strict=False):  # -e brings strings
            return "is the sandbox, which charges nobody. Set payment_sandbox_allowed: true, on test hosts only"
        return None
    if url.startswith("https://"):  # which may have a key in it
        return None if GATEWAY_HOST.fullmatch(url) else "has more than a host in it. Write https://razorpay.com/"
    return f"is {shown(url)}. Write https://razorpay.com/, or sandbox://approve (decline, timeout) on test hosts"


def razorpay_problems(settings: dict) -> list[str]:
    """Check the keys that an https:// gateway needs."""
    if not str(settings["payment_gateway"]).startswith("https://"):
        return []
    what = {
        "payment_razorpay_key_id": "the id of the API key from Razorpay's dashboard",
        "payment_razorpay_key_secret": "the secret of that key",
        "payment_razorpay_webhook_secret": "the secret of the webhook in Razorpay's dashboard",
    }
    values = {name: str(settings[name]) for name in what}
    problems = [
        f"{name}, {what[name]}, is not set, and payment_gateway is {settings['payment_gateway']}. {VAULT}"
        for name, value in values.items()
        if not value or value.startswith("<")
    ]
    if not problems and not re.fullmatch(r"rzp_(live|test)_[A-Za-z0-9]{1,50}", values["payment_razorpay_key_id"]):
        key_id = values["payment_razorpay_key_id"]
        problems.append(f"payment_razorpay_key_id is {shown(key_id)}. Write the key's id, which begins with rzp_live_.")
    return problems


def ledger_problem(url: str, password: str) -> str | None:
    """Say why payments cannot be recorded at `url`, in words that begin with the variable's name, or return None."""
    if not url:
        return None
    secret = re.search(r"//[^/@]*:[^/@]*@|[?&]password=", url)
    if secret:
        return f"payment_ledger_url has a password in it. Write that as payment_ledger_password. {VAULT}"
    if not POSTGRESQL.fullmatch(url) or not UNIT_VALUE.fullmatch(url):
        example = "postgresql://payment@172.31.19.150:5432/payment"
        return f"payment_ledger_url is {url!r}. Write {example}, or leave it out for a ledger in a file of the host."
    if not password or password.startswith("<"):
        return f"payment_ledger_password, the password of PostgreSQL's user, is not set. {VAULT}"
    return None


def payment_address(hostvars: dict) -> str:
    """The address of a host; localhost by its number, since connections do not come from names."""
    address = str(hostvars.get("ansible_host", hostvars["inventory_hostname"]))
    return "127.0.0.1" if address == "localhost" else address


def rate_problems(settings: dict) -> list[str]:
    """Check how many requests are allowed, and whose word counts for who makes them."""
    problems = [
        f"{name} is {shown(settings[name])}. Write requests and seconds such as 30/60s, or unlimited."
        for name in ("payment_rate_session", "payment_rate_client")
        if not re.fullmatch(r"[1-9][0-9]{0,5}/[1-9][0-9]{0,4}s|unlimited", str(settings[name]))
    ]
    proxies = settings["payment_trusted_proxies"]
    if not isinstance(proxies, list):
        return [*problems, f"payment_trusted_proxies is {shown(proxies)}. Write a list of addresses and networks."]
    for proxy in proxies:
        try:
            ipaddress.ip_network(str(proxy))
        except ValueError as error:
            said = "one is no network" if MAY_BE_SECRET.search(str(proxy)) else error
            problems.append(
                f"payment_trusted_proxies: {said}. Write the addresses and networks that the frontend connects from, "
                "for example 172.31.19.140 or 172.31.16.0/20."
            )
    return problems


def artifact_problems(settings: dict) -> list[str]:
    """Check where the release comes from, and that it is pinned."""
    url = str(settings["payment_artifact_url"])
    if url == "bundled":
        return []
    problems = []
    if placeholder := PLACEHOLDER.search(url):
        problems.append(
            f"payment_artifact_url still has the placeholder {placeholder[0]}. Write the bucket that make publish "
            "uploads releases to, or bundled, for the app of this checkout."
        )
    elif not re.fullmatch(r"https://[^\s<>]+|s3://[a-z0-9][a-z0-9.-]+[a-z0-9]/[^\s<>]+", url):
        problems.append(f"payment_artifact_url is {shown(url)}. Write s3://bucket/key, an https:// URL, or bundled.")
    endpoint = str(settings["payment_s3_endpoint"])
    if endpoint and not re.fullmatch(r"https://[^\s<>]+", endpoint):
        problems.append(f"payment_s3_endpoint is {shown(endpoint)}. Write an https:// URL, or nothing for AWS.")
    region = str(settings["payment_s3_region"])
    if not re.fullmatch(r"[a-z0-9-]*", region):
        problems.append(
            f"payment_s3_region is {shown(region)}. Write one like us-east-1, or nothing for the controller's."
        )
    version = str(settings["payment_version"])
    sha256 = str(settings["payment_artifact_sha256"])
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+_]*", version):
        problems.append("payment_version is not set to the artifact's version, for example 1.0.0.")
    elif not sha256:
        problems.append(
            f"payment_artifact_sha256s has no SHA-256 for version {version}. Add the line that make publish printed: "
            f'"{version}": and the 64 digits, the version in quotes.'
        )
    elif PLACEHOLDER.fullmatch(sha256):
        problems.append(
            f"payment_artifact_sha256s still has the placeholder {sha256} for version {version}. Write the SHA-256 that"
            " make publish printed."
        )
    elif not re.fullmatch(r"[0-9a-f]{64}", sha256):
        problems.append(
            f"payment_artifact_sha256 is {shown(sha256)}, which is no SHA-256 (64 digits; sha256sum prints it)."
        )
    return problems


def payment_setting_problems(settings: dict) -> list[str]:
    """Check one payment host's settings: {variable name: value}."""
    problems = []
    for name in ("payment_cart_host", "payment_user_host", "payment_amqp_host"):
        if problem := address_problem(settings[name]):
            problems.append(f"{name} {problem}. Write an IPv4 address or a DNS name.")
    try:
        ipaddress.IPv4Address(str(settings["payment_bind_address"]))
    except ValueError:
        address = shown(settings["payment_bind_address"])
        problems.append(f"payment_bind_address is {address}. Write an IPv4 address of the host, or 0.0.0.0 for all.")
    for name, lowest in {
        "payment_port": 1024,  # the service has no right to open a lower one
        "payment_trial_port": 1024,
        "payment_cart_port": 1,
        "payment_user_port": 1,
        "payment_amqp_port": 1,
    }.items():
        if problem := port_problem(settings[name], lowest):
            problems.append(f"{name} {problem}. Usual are 8084 (payment), 8083 (cart), 8081 (user), 5672 (RabbitMQ).")
    if str(settings["payment_trial_port"]) == str(settings["payment_port"]):
        problems.append("payment_trial_port is payment_port. Write another one, that nothing on the host listens on.")
    for name in ("payment_processes", "payment_threads"):
        if not re.fullmatch(r"[1-9][0-9]?", str(settings[name])):
            problems.append(f"{name} is {shown(settings[name])}. Write a number from 1 to 99.")
    if not problems and settings["payment_runtime"] == "python":
        threads = int(settings["payment_processes"]) * int(settings["payment_threads"])
        if threads > 256:
            problems.append(f"payment_threads times payment_processes is {threads}. One Python process has up to 256.")
    for name in ("payment_amqp_user", "payment_amqp_vhost", "payment_queue", "payment_gateway"):
        if not UNIT_VALUE.fullmatch(str(settings[name])):
            problems.append(f"{name} is {shown(settings[name])}. Write it without spaces, quotes, backslashes and %.")
    password = str(settings["payment_amqp_password"])
    if not password or password.startswith("<"):
        problems.append(f"payment_amqp_password, the password of RabbitMQ's user, is not set. {VAULT}")
    problems += [
        f"{name} is a password that the install guide publishes. Choose another. {VAULT}"
        for name in SECRETS
        if settings[name] in PUBLISHED_PASSWORDS
    ]
    if problem := gateway_problem(str(settings["payment_gateway"]), settings["payment_sandbox_allowed"]):
        problems.append(f"payment_gateway {problem}.")
    problems += razorpay_problems(settings)
    if problem := ledger_problem(str(settings["payment_ledger_url"]), str(settings["payment_ledger_password"])):
        problems.append(problem)
    problems += rate_problems(settings)
    problems += artifact_problems(settings)
    return problems


class FilterModule:
    """Filters for the payment role's validation."""

    def filters(self) -> dict:
        return {
            "payment_address": payment_address,
            "payment_inventory_problems": payment_inventory_problems,
            "payment_setting_problems": payment_setting_problems,
        }

"""Inventories that must be refused before any host is touched: where they differ from a good one, and what is said."""

from typing import NamedTuple

import yaml


class Wrong(NamedTuple):
    """One wrong inventory: what it says, `{inventory}` being its folder, and where it differs from a good one."""

    said: str
    hosts: tuple[str, str] = ("", "")  # what hosts.yml has, and what in its place
    setting: str = ""  # YAML for group_vars
    arguments: tuple[str, ...] = ()
    early: bool = False  # found before the settings are looked at

    def settings(self) -> dict[str, object]:
        return yaml.safe_load(self.setting) or {}

    def __str__(self) -> str:
        return self.setting or " ".join(self.arguments) or " -> ".join(self.hosts)


# (what hosts.yml has, what in its place, what is said)
ADDRESSES = [
    ("192.0.2.12", "<CART-SERVER-IP>", "cart-1: ansible_host is still the placeholder <CART-SERVER-IP>"),
    ("192.0.2.12", "192.168.1.522", "cart-1: ansible_host is 192.168.1.522, which is no IPv4 address"),
    ("192.0.2.12", "192.168.1", "cart-1: ansible_host is 192.168.1, which is no IPv4 address"),
    ("192.0.2.12", "cart_1 .example", "cart-1: ansible_host is 'cart_1 .example', which is neither"),
    ("192.0.2.12", "http://192.0.2.12", "cart-1: ansible_host is 'http://192.0.2.12', which is neither"),
    (
        "192.0.2.12",
        "fd00::12",
        "cart-1: ansible_host is 'fd00::12', which is neither an IPv4 address nor a DNS name",
    ),
    ("192.0.2.12", "0.0.0.0", "cart-1: ansible_host is 0.0.0.0, which is not the address of one host"),
    ("192.0.2.12", "''", "cart-1: ansible_host is empty"),
    ("192.0.2.13", "192.0.2.12", "user-1: ansible_host is 192.0.2.12, which cart-1 has already"),
    ("ansible_host: 192.0.2.12", "ansible_ssh_host: 192.0.2.12", "cart-1: ansible_ssh_host is an old name"),
    ("192.0.2.12", "192.0.2.12\n      ansible_ssh_port: 2222", "cart-1: ansible_ssh_port is an old name"),
    ("192.0.2.12", "fd00::12%eth0", "cart-1: ansible_host is 'fd00::12%eth0', which is neither"),
    ("192.0.2.12", "224.0.0.1", "cart-1: ansible_host is 224.0.0.1, which is not the address of one host"),
    ("192.0.2.13", "192.0.2.11", "user-1: ansible_host is 192.0.2.11, which payment-1 has already"),
    (
        "192.0.2.11",
        "Pay.example.com\n    payment-2:\n      ansible_host: pay.example.com.",
        "payment-2: ansible_host is pay.example.com., which payment-1 has already",
    ),
    (
        "192.0.2.11",
        "localhost\n    payment-2:\n      ansible_host: localhost",
        "payment-2: ansible_host is localhost, which payment-1 has already",
    ),
]
GROUPS = ("payment", "cart", "user", "rabbitmq")
# (YAML for group_vars/all, what is said)
SETTINGS = [
    ("payment_port: 99999", "payment_port is 99999, which is not from 1024 to 65535"),
    ("payment_trial_port: 8084", "payment_trial_port is payment_port. Write another one"),
    ("payment_port: 80", "payment_port is 80, which is not from 1024 to 65535"),
    ("payment_cart_host: 10.0.0.300", "payment_cart_host is 10.0.0.300, which is no IPv4 address"),
    ("payment_cart_host: amqps://me:s3cr3t@host", "payment_cart_host is something that may hold a password, which is"),
    ("payment_amqp_host: 'me:s3cr3t word@host'", "payment_amqp_host is something that may hold a password, which is"),
    ("payment_bind_address: http://me:s3cr3t@host", "payment_bind_address is something that may hold a password"),
    ("payment_trusted_proxies: ['http://me:s3cr3t@host']", "payment_trusted_proxies: one is no network"),
    ("payment_artifact_url: http://host/a.zip?token=s3cr3t", "payment_artifact_url is something that may hold a"),
    ("payment_bind_address: localhost", "Write an IPv4 address of the host, or 0.0.0.0 for all"),
    ("payment_queue: order processing", "payment_queue is 'order processing'. Write it without spaces"),
    ("payment_processes: 0", "payment_processes is 0. Write a number from 1 to 99"),
    (
        "payment_gateway: sandbox://aprove",
        "payment_gateway is 'sandbox://aprove'. Write https://razorpay.com/, or sandbox",
    ),
    ("payment_gateway: ftp://pay", "payment_gateway is 'ftp://pay'. Write https://razorpay.com/"),
    ("payment_gateway: https://key@razorpay.com/", "payment_gateway has more than a host in it. Write https://"),
    (
        "payment_gateway: https://razorpay.com/",
        "payment_razorpay_key_id, the id of the API key from Razorpay's dashboard, is not set",
    ),
    (
        "{payment_gateway: https://razorpay.com/, payment_razorpay_key_id: rzp_live_1}",
        "payment_razorpay_key_secret, the secret of that key, is not set",
    ),
    (
        "{payment_gateway: https://razorpay.com/, payment_razorpay_webhook_secret: <RAZORPAY-WEBHOOK-SECRET>}",
        "payment_razorpay_webhook_secret, the secret of the webhook in Razorpay's dashboard, is not set",
    ),
    (
        "{payment_gateway: https://razorpay.com/, payment_razorpay_key_id: acc_1, payment_razorpay_key_secret: a,"
        " payment_razorpay_webhook_secret: b}",
        "payment_razorpay_key_id is 'acc_1'. Write the key's id, which begins with rzp_live_",
    ),
    ("payment_sandbox_allowed: 'false'", "Set payment_sandbox_allowed: true, on test hosts only"),
    ("payment_sandbox_allowed: false", "Set payment_sandbox_allowed: true, on test hosts only"),
    ("payment_amqp_password: ''", "payment_amqp_password, the password of RabbitMQ's user, is not set"),
    ("payment_amqp_password: skillupworks@123", "payment_amqp_password is a password that the install guide publishes"),
    (
        "{payment_ledger_url: postgresql://payment@192.0.2.15/payment, payment_ledger_password: Admin@123}",
        "payment_ledger_password is a password that the install guide publishes",
    ),
    (
        "payment_ledger_url: postgresql://payment:secret@192.0.2.15/payment",
        "payment_ledger_url has a password in it. Write that as payment_ledger_password",
    ),
    (
        "payment_ledger_url: postgresql://payment@192.0.2.15/payment?password=secret",
        "payment_ledger_url has a password in it",
    ),
    (
        "payment_ledger_url: mysql://payment@192.0.2.15/payment",
        "payment_ledger_url is 'mysql://payment@192.0.2.15/payment'. Write postgresql://",
    ),
    ("payment_ledger_url: postgresql://192.0.2.15", "Write postgresql://payment@172.31.19.150:5432/payment"),
    (
        "payment_ledger_url: postgresql://payment@192.0.2.15/payment",
        "payment_ledger_password, the password of PostgreSQL's user, is not set",
    ),
    (
        "payment_rate_session: 30",
        "payment_rate_session is 30. Write requests and seconds such as 30/60s, or unlimited",
    ),
    ("payment_rate_client: 0/60s", "payment_rate_client is '0/60s'. Write requests and seconds such as 30/60s"),
    ("payment_rate_client: off", "payment_rate_client is False. Write requests and seconds such as 30/60s"),
    ("payment_trusted_proxies: 10.0.0.1", "payment_trusted_proxies is '10.0.0.1'. Write a list"),
    (
        "payment_trusted_proxies: [10.0.0.300]",
        "payment_trusted_proxies: '10.0.0.300' does not appear to be an IPv4 or IPv6 network. Write the addresses",
    ),
    ("payment_trusted_proxies: [10.0.0.1/8]", "payment_trusted_proxies: 10.0.0.1/8 has host bits set. Write the"),
    ("payment_artifact_url: http://192.0.2.1/a.zip", "Write s3://bucket/key, an https:// URL, or bundled"),
    ("payment_artifact_url: s3://<BUCKET>/a.zip", "payment_artifact_url still has the placeholder <BUCKET>. Write"),
    (
        "payment_artifact_sha256s: {1.0.0: <SHA-256>}",
        "payment_artifact_sha256s still has the placeholder <SHA-256> for version 1.0.0. Write the SHA-256 that",
    ),
    ("payment_artifact_url: s3://releases", "Write s3://bucket/key, an https:// URL, or bundled"),
    (
        "{payment_artifact_url: https://192.0.2.1/a.zip, payment_version: ''}",
        "payment_version is not set to the artifact's version",
    ),
    (
        "{payment_artifact_url: s3://releases/a.zip, payment_version: 1.2.0}",
        "payment_artifact_sha256s has no SHA-256 for version 1.2.0. Add the line that make publish printed:",
    ),
    (
        "{payment_artifact_url: s3://a-b/a.zip, payment_version: 1.2.0, payment_artifact_sha256s: {1.2.0: abc}}",
        "payment_artifact_sha256 is 'abc', which is no SHA-256",
    ),
    (
        "{payment_artifact_url: s3://releases/a.zip, payment_s3_endpoint: http://192.0.2.1}",
        "payment_s3_endpoint is 'http://192.0.2.1'. Write an https:// URL, or nothing for AWS",
    ),
    (
        "{payment_artifact_url: s3://releases/a.zip, payment_s3_region: US East}",
        "payment_s3_region is 'US East'. Write one like us-east-1",
    ),
    (
        "{payment_artifact_url: s3://releases/a.zip, payment_version: 1/2}",
        "payment_version is not set to the artifact's version",
    ),
    (
        "{payment_artifact_url: s3://a-b/a.zip, payment_version: 1.2.0, payment_artifact_sha256: " + "A" * 64 + "}",
        "which is no SHA-256 (64 digits; sha256sum prints it)",
    ),
]
# The same, of what is found before the settings are looked at.
VARIABLES = [
    # a name that no role has
    ("payment_prot: 8085", "payment_prot is no variable of these roles. Did you mean payment_port?"),
    (
        "payment_amqp_pasword: x",
        "payment_amqp_pasword is no variable of these roles. Did you mean payment_amqp_password?",
    ),
    ("paymnt_port: 8085", "paymnt_port is no variable of these roles. Did you mean payment_port?"),
    ("payment_thread: 8", "payment_thread is no variable of these roles. Did you mean payment_threads?"),
    ("payment_colour: blue", "payment_colour is no variable of these roles. Remove it; roles/*/README.md have tables"),
    (
        "payment_route_enable: true",
        "payment_route_enable is no variable of these roles. Did you mean payment_route_enabled?",
    ),
    ("app_firewall_zones: x", "app_firewall_zones is no variable of these roles. Did you mean app_firewall_zone?"),
    (
        "service_account_nmae: pay",
        "service_account_nmae is no variable of these roles. Did you mean service_account_name?",
    ),
    (
        "python_runtime_package: [x]",
        "python_runtime_package is no variable of these roles. Did you mean python_runtime_packages?",
    ),
    # a value of another type
    ("payment_cart_port: amqps://me:s3cr3t@host", "payment_cart_port is not what it must be. Write a whole number."),
    ("payment_memory_max: half", "payment_memory_max is 'half'. Write a share of the host's such as 70%, or 350M"),
    ("payment_cart_port: http", "payment_cart_port is 'http'. Write a whole number."),
    ("payment_runtime: gunicorn", "payment_runtime is 'gunicorn'. Write uwsgi or python"),
    ("payment_live_tries: many", "payment_live_tries is 'many'. Write a whole number."),
    ("payment_route_burst: 2e2", "payment_route_burst is '2e2'. Write a whole number."),
    ("payment_threads: '16.0'", "payment_threads is '16.0'. Write a whole number."),
    ("payment_live_tries: 3.0", "payment_live_tries is 3.0. Write a whole number."),
    ("payment_live_tries: true", "payment_live_tries is True. Write a whole number."),
    ("payment_releases_kept: 0", "payment_releases_kept is 0. Write a whole number from 1 up."),
    ("payment_queue:", "payment_queue has no value. Write text, or remove the line."),
    ("payment_queue: [orders]", "payment_queue is ['orders']. Write text."),
    ("payment_packages: {unzip: true}", "payment_packages is {'unzip': True}. Write a list."),
    ("payment_artifact_sha256s: 0123", "Write a list of names, each with its value."),
    ("payment_sandbox_allowed: maybe", "payment_sandbox_allowed is 'maybe'. Write true or false."),
    ("payment_route_enabled: maybe", "payment_route_enabled is 'maybe'. Write true or false."),
    ("payment_route_burst: -1", "payment_route_burst is -1. Write a whole number from 0 up."),
    ("payment_route_rate: 100", "payment_route_rate is 100. Write a rate such as 100r/s, or nothing for no limit."),
    ("payment_route_max_body: big", "payment_route_max_body is 'big'. Write a size such as 64k."),
    ("payment_route_location_file: /tmp/x", "payment_route_location_file is '/tmp/x'. Write a file below /etc/nginx."),
    ("app_firewall_ports: [8084]", "app_firewall_ports is [8084]. Write port/protocol, such as 8084/tcp."),
    ("service_account_name: root", "service_account_name is 'root'. Write the name of a system user"),
    ("payment_root: opt/payment", "payment_root is 'opt/payment'. Write an absolute path"),
    (
        "payment_link: /srv/../etc",
        "payment_link is '/srv/../etc'. Write an absolute path, without spaces, quotes and ..",
    ),
    ("payment_link: /", "payment_link is '/'. That is the system's. Write a directory of the service's own."),
    ("payment_root: /opt/", "payment_root is '/opt/'. That is the system's. Write a directory of the service's own."),
    ("service_account_log_dir: /var/log", "service_account_log_dir is '/var/log'. That is the system's."),
    ("payment_serial: 2", "payment_serial has no effect in an inventory. Give it with -e."),
]
# (arguments of ansible-playbook, what is said)
ARGUMENTS = [
    (
        ("-e", "payment_serail=2"),
        "-e, or an encrypted file: payment_serail is no variable of these roles. Did you mean payment_serial?",
    ),
    (("-e", "payment_serial=0"), "payment_serial is '0'. Write a number of hosts, or a percentage such as 25%."),
    (("-e", "payment_serial=101%"), "payment_serial is '101%'. Write a number of hosts"),
    # what is wrong elsewhere counts for a part of the fleet as well
    (
        ("--limit", "cart", "-e", "payment_prot=1"),
        "payment_prot is no variable of these roles. Did you mean payment_port?",
    ),
]
WRONG = [
    *(Wrong(f"{{inventory}}/hosts.yml: {said}", hosts=(old, new)) for old, new, said in ADDRESSES),
    *(
        Wrong(f"{{inventory}}/hosts.yml: group '{group}' has no host. Write the address of", hosts=(f"{group}-1", ""))
        for group in GROUPS
    ),
    Wrong(
        "Found duplicate mapping key 'payment-1'",
        hosts=("192.0.2.11", "192.0.2.10\n    payment-1:\n      ansible_host: 192.0.2.11"),
    ),
    *(Wrong(said, setting=setting) for setting, said in SETTINGS),
    *(Wrong(said, setting=setting, early=True) for setting, said in VARIABLES),
    *(Wrong(said, arguments=arguments) for arguments, said in ARGUMENTS),
]

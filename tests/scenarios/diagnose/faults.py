"""What is done to test hosts on purpose. A fault's name is the cause that diagnose.yml is to find first."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PAYMENT = "payment-1"
RESTART = "systemctl restart payment.service || true"
SITE = "/app/venv/lib/python3.11/site-packages"
UNIT = "/etc/systemd/system/payment.service"
STATE = "/var/lib/skillupworks/payment"
UPSTREAM = "/etc/nginx/conf.d/payment-upstream.conf"


@dataclass(frozen=True)
class Fault:
    """Shell commands that do it and undo it, on one host; {password} and {broker} stand for RabbitMQ's.

    `pays` when only a payment that fails shows it, `orders` when only an order does; `cured` when the command that
    diagnose.yml gives is run, to see that it helps; `inventory` is what the inventory says meanwhile.
    """

    name: str
    do: str
    undo: str
    on: str = PAYMENT
    pays: bool = False
    orders: bool = False
    cured: bool = False
    inventory: Mapping[str, str] = field(default_factory=dict)


# Its Order Processor declares the queue durable and classic, as the service does.
QUEUE = (
    "/app/venv/bin/python -c \"import pika; login = pika.PlainCredentials('skillupworks', '{password}'); "
    "channel = pika.BlockingConnection(pika.ConnectionParameters('{broker}', credentials=login)).channel(); "
    "channel.queue_delete('order-processing'); channel.queue_declare('order-processing', durable=True, arguments=%s)\""
)


EACH_RULE = (
    "firewall-cmd --list-rich-rules > /run/rules; "
    'while read -r rule; do firewall-cmd --remove-rich-rule="$rule"; done < /run/rules',
    'while read -r rule; do firewall-cmd --add-rich-rule="$rule"; done < /run/rules; rm /run/rules',
)


def in_unit(old: str, new: str) -> tuple[str, str]:
    """Have the unit say something else, and take it back."""
    reread = f"systemctl daemon-reload; {RESTART}"
    return f"sed -i.bak 's|{old}|{new}|' {UNIT}; {reread}", f"mv {UNIT}.bak {UNIT}; {reread}"


FAULTS = [
    Fault(
        "service stopped",
        "systemctl stop payment.socket payment.service",
        "systemctl start payment.service",
        cured=True,
    ),
    Fault("not enabled", "systemctl disable payment.service", "systemctl enable payment.service"),
    Fault("uWSGI not found", f"mv /app/venv/bin/uwsgi /root/; {RESTART}", f"mv /root/uwsgi /app/venv/bin/; {RESTART}"),
    Fault("Python not found", "mv /usr/bin/python3.11 /root/", "mv /root/python3.11 /usr/bin/"),
    Fault(
        "Python module not found",
        f"mv {SITE}/flask /root/; {RESTART}",
        f"rm -rf {SITE}/flask; mv /root/flask {SITE}/; {RESTART}",
        cured=True,
    ),
    Fault(
        "release missing",
        f"mv $(readlink /app) /root/release; {RESTART}",
        f"mv /root/release $(readlink /app); {RESTART}",
    ),
    Fault(
        "port taken",
        "systemctl stop payment.socket payment.service; systemd-run --unit=squatter python3 -m http.server 8084; "
        "until ss -Hltn sport = :8084 | grep -q .; do sleep 0.2; done; systemctl start payment.socket || true",
        "systemctl stop squatter || true; systemctl start payment.socket payment.service",
        cured=True,
    ),
    Fault("setting refused", *in_unit("CART_PORT=8083", "CART_PORT=80830")),
    Fault(
        "credentials missing",
        f"mv /etc/skillupworks/payment/credentials/amqp_password /root/; {RESTART}",
        f"mv /root/amqp_password /etc/skillupworks/payment/credentials/; {RESTART}",
    ),
    Fault("service fails", *in_unit("^TimeoutStartSec=.*", "ExecStartPre=/bin/false")),
    Fault(
        "disk full",
        f"systemctl stop payment.service; mount -t tmpfs -o size=4m,mode=700,uid=skillupworks tmpfs {STATE}; "
        f"systemctl start payment.service; head -c 8m /dev/zero > {STATE}/filler || true",
        f"systemctl stop payment.service; umount {STATE}; systemctl start payment.service",
    ),
    Fault(
        "ledger locked",
        f"systemd-run --unit=locker python3 -c \"import sqlite3, time; c = sqlite3.connect('{STATE}/ledger.db'); "
        "c.execute('begin immediate'); open('/run/locked', 'w'); time.sleep(900)\"; "
        "until [ -e /run/locked ]; do sleep 0.2; done",
        "systemctl stop locker || true; rm -f /run/locked",
        cured=True,
    ),
    Fault("cart down", "systemctl stop cart", "systemctl start cart", "cart-1", cured=True),
    Fault("user down", "systemctl stop user", "systemctl start user", "user-1", cured=True),
    Fault("cart unreachable", "firewall-cmd --remove-port=8083/tcp", "firewall-cmd --add-port=8083/tcp", "cart-1"),
    Fault("DNS", *in_unit("CART_HOST=.*", "CART_HOST=cart.invalid"), inventory={"payment_cart_host": "cart.invalid"}),
    Fault(
        "cart fails",
        "curl -sS -X PUT -d true http://127.0.0.1:8083/broken",
        "curl -sS -X PUT -d false http://127.0.0.1:8083/broken",
        "cart-1",
        pays=True,
    ),
    Fault(
        "gateway fails",
        *in_unit("PAYMENT_GATEWAY=.*", "PAYMENT_GATEWAY=sandbox://timeout"),
        pays=True,
        inventory={"payment_gateway": "sandbox://timeout"},
    ),
    Fault(
        "rabbitmq down", "systemctl stop rabbitmq-server", "systemctl start rabbitmq-server", "rabbitmq-1", cured=True
    ),
    Fault(
        "rabbitmq unreachable", "firewall-cmd --remove-port=5672/tcp", "firewall-cmd --add-port=5672/tcp", "rabbitmq-1"
    ),
    Fault(
        "RabbitMQ credentials",
        "rabbitmqctl change_password skillupworks another",
        "rabbitmqctl change_password skillupworks {password}",
        "rabbitmq-1",
    ),
    Fault(
        "RabbitMQ vhost refused",
        "rabbitmqctl clear_permissions skillupworks",
        "rabbitmqctl set_permissions skillupworks '.*' '.*' '.*'",
        "rabbitmq-1",
        cured=True,
    ),
    # What it refuses is not told before there is an order.
    Fault(
        "RabbitMQ permissions",
        "rabbitmqctl set_permissions skillupworks none none none",
        "rabbitmqctl set_permissions skillupworks '.*' '.*' '.*'",
        "rabbitmq-1",
        orders=True,
        cured=True,
    ),
    Fault(
        "RabbitMQ alarm",
        "rabbitmqctl set_vm_memory_high_watermark 0.00001",
        "rabbitmqctl set_vm_memory_high_watermark 0.4",
        "rabbitmq-1",
        orders=True,
    ),
    Fault("queue of another type", QUEUE % "{'x-queue-type': 'quorum'}", QUEUE % "{}"),
    Fault("queue missing", "rabbitmqctl delete_queue order-processing", "true", "rabbitmq-1", cured=True),
    Fault("unit differs", *in_unit("USER_PORT=8081", "USER_PORT=8082")),
    Fault("firewall closed", *EACH_RULE),
    Fault("firewall open to others", "firewall-cmd --add-port=8084/tcp", "firewall-cmd --remove-port=8084/tcp"),
    Fault(
        "network",
        "firewall-cmd --add-rich-rule='rule family=ipv4 priority=-1 port port=8084 protocol=tcp drop'",
        "firewall-cmd --remove-rich-rule='rule family=ipv4 priority=-1 port port=8084 protocol=tcp drop'",
    ),
    Fault(
        "wrong upstream in Nginx",
        f"sed -i.bak -E 's/(server [0-9.]+)[0-9]:/\\19:/' {UPSTREAM}; systemctl reload nginx",
        f"mv {UPSTREAM}.bak {UPSTREAM}; systemctl reload nginx",
        "frontend-1",
    ),
    Fault(
        "host left drained",
        f"sed -i.bak 's/;  # {PAYMENT}$/ down;  # {PAYMENT}/' {UPSTREAM}; systemctl reload nginx",
        f"mv {UPSTREAM}.bak {UPSTREAM}; systemctl reload nginx",
        "frontend-1",
    ),
    Fault("Nginx down", "systemctl stop nginx", "systemctl start nginx", "frontend-1", cured=True),
    Fault(
        "half-done release",
        "mkdir /opt/skillupworks/payment/releases/9.9.9-0123456789ab",
        "rm -rf /opt/skillupworks/payment/releases/9.9.9-0123456789ab",
        cured=True,
    ),
    Fault(
        "configuration differs",
        "sed -i.bak s/processes/workers/ /etc/skillupworks/payment/payment.ini",
        "mv /etc/skillupworks/payment/payment.ini.bak /etc/skillupworks/payment/payment.ini",
    ),
    Fault(
        "owners and modes",
        "chmod 0644 /etc/skillupworks/payment/credentials/amqp_password",
        "chmod 0600 /etc/skillupworks/payment/credentials/amqp_password",
    ),
]

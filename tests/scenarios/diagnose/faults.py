"""What is done to test hosts on purpose. A fault's name is the cause that diagnose.yml is to find first."""

from dataclasses import dataclass

PAYMENT = "payment-1"
RESTART = "systemctl restart payment.service || true"
SITE = "/app/venv/lib/python3.11/site-packages"
UNIT = "/etc/systemd/system/payment.service"
STATE = "/var/lib/skillupworks/payment"
UPSTREAM = "/etc/nginx/conf.d/payment-upstream.conf"
RELOAD = "systemctl daemon-reload"


@dataclass(frozen=True)
class Fault:
    """Shell commands that do it and undo it, on one host; `pays` when only a payment shows it."""

    name: str
    do: str
    undo: str
    on: str = PAYMENT
    pays: bool = False


FAULTS = [
    Fault("service stopped", "systemctl stop payment.socket payment.service", "systemctl start payment.service"),
    Fault("not enabled", "systemctl disable payment.service", "systemctl enable payment.service"),
    Fault("uWSGI not found", f"mv /app/venv/bin/uwsgi /root/; {RESTART}", f"mv /root/uwsgi /app/venv/bin/; {RESTART}"),
    Fault("Python not found", "mv /usr/bin/python3.11 /root/", "mv /root/python3.11 /usr/bin/"),
    Fault("Python module not found", f"mv {SITE}/flask /root/; {RESTART}", f"mv /root/flask {SITE}/; {RESTART}"),
    Fault(
        "release missing",
        f"mv $(readlink /app) /root/release; {RESTART}",
        f"mv /root/release $(readlink /app); {RESTART}",
    ),
    Fault(
        "port taken",
        "systemctl stop payment.socket payment.service; systemd-run --unit=squatter python3 -m http.server 8084; "
        "sleep 2; systemctl start payment.socket || true",
        "systemctl stop squatter; systemctl start payment.socket payment.service",
    ),
    Fault(
        "setting refused",
        f"sed -i.bak s/CART_PORT=8083/CART_PORT=80830/ {UNIT}; {RELOAD}; {RESTART}",
        f"mv {UNIT}.bak {UNIT}; {RELOAD}; {RESTART}",
    ),
    Fault(
        "credentials missing",
        f"mv /etc/skillupworks/payment/credentials/amqp_password /root/; {RESTART}",
        f"mv /root/amqp_password /etc/skillupworks/payment/credentials/; {RESTART}",
    ),
    Fault(
        "service fails",
        f"sed -i.bak 's|^TimeoutStartSec=.*|ExecStartPre=/bin/false|' {UNIT}; {RELOAD}; {RESTART}",
        f"mv {UNIT}.bak {UNIT}; {RELOAD}; {RESTART}",
    ),
    Fault(
        "disk full",
        f"systemctl stop payment.service; mount -t tmpfs -o size=4m,mode=700,uid=skillupworks tmpfs {STATE}; "
        f"systemctl start payment.service; head -c 8m /dev/zero > {STATE}/filler || true",
        f"systemctl stop payment.service; umount {STATE}; systemctl start payment.service",
    ),
    Fault(
        "ledger locked",
        f"systemd-run --unit=locker python3 -c \"import sqlite3, time; c = sqlite3.connect('{STATE}/ledger.db'); "
        "c.execute('begin immediate'); time.sleep(300)\"; sleep 2",
        "systemctl stop locker",
    ),
    Fault("cart down", "systemctl stop cart", "systemctl start cart", "cart-1"),
    Fault("user down", "systemctl stop user", "systemctl start user", "user-1"),
    Fault("cart unreachable", "firewall-cmd --remove-port=8083/tcp", "firewall-cmd --add-port=8083/tcp", "cart-1"),
    Fault(
        "cart fails",
        "curl -sS -X PUT -d true http://127.0.0.1:8083/broken",
        "curl -sS -X PUT -d false http://127.0.0.1:8083/broken",
        "cart-1",
        pays=True,
    ),
    Fault("rabbitmq down", "systemctl stop rabbitmq-server", "systemctl start rabbitmq-server", "rabbitmq-1"),
    Fault(
        "rabbitmq unreachable", "firewall-cmd --remove-port=5672/tcp", "firewall-cmd --add-port=5672/tcp", "rabbitmq-1"
    ),
    Fault(
        "RabbitMQ vhost refused",
        "rabbitmqctl clear_permissions skillupworks",
        "rabbitmqctl set_permissions skillupworks '.*' '.*' '.*'",
        "rabbitmq-1",
    ),
    Fault(
        "unit differs",
        f"sed -i.bak s/USER_PORT=8081/USER_PORT=8082/ {UNIT}; {RELOAD}; {RESTART}",
        f"mv {UNIT}.bak {UNIT}; {RELOAD}; {RESTART}",
    ),
    Fault("firewall closed", "firewall-cmd --remove-port=8084/tcp", "firewall-cmd --add-port=8084/tcp"),
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
    Fault("Nginx down", "systemctl stop nginx", "systemctl start nginx", "frontend-1"),
    Fault(
        "half-done release",
        "mkdir /opt/skillupworks/payment/releases/9.9.9-0123456789ab",
        "rmdir /opt/skillupworks/payment/releases/9.9.9-0123456789ab",
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

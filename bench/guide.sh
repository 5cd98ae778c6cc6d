# The install guide's commands as one script, for a host that has nothing: packages, user, download, dependencies, uWSGI,
# unit, firewall. The zip is at /tmp already. Beside the guide's: answers to questions, an address that others reach, a
# place for the ledger, and the app's locked versions.
set -euo pipefail
dnf install python3.11 python3.11-pip python3.11-devel gcc vim unzip telnet tree -y || dnf install python3.11 python3.11-pip python3.11-devel gcc unzip -y
python3.11 --version

useradd skillupworks
mkdir -p /app
chown skillupworks:skillupworks /app
mkdir -p /var/log/skillupworks
chown skillupworks:skillupworks /var/log/skillupworks

cd /app
rm -rf /app/*
unzip -q /tmp/skillupworks-payment.zip
chown -R skillupworks:skillupworks /app

pip3.11 install --upgrade pip
sudo -u skillupworks python3.11 -m pip install -r requirements.txt
python3.11 -m pip install "uwsgi==$UWSGI"
uwsgi_path=$(find /usr/local/bin /root/.local/bin /usr/bin -name uwsgi 2>/dev/null || true)

cat > /app/payment.ini << 'EOF'
[uwsgi]
module = payment:app
master = true
processes = 4
threads = 2
socket = 0.0.0.0:8084
protocol = http
chmod-socket = 660
vacuum = true
die-on-term = true
EOF
chown skillupworks:skillupworks /app/payment.ini

cat > /etc/systemd/system/payment.service << EOF
[Unit]
Description=skillupworks Payment Service
After=network.target

[Service]
User=skillupworks
WorkingDirectory=/app
Environment=CART_HOST=$CART_HOST
Environment=CART_PORT=8083
Environment=USER_HOST=$USER_HOST
Environment=USER_PORT=8081
Environment=AMQP_HOST=$AMQP_HOST
Environment=AMQP_USER=skillupworks
Environment=AMQP_PASS=$AMQP_PASS
Environment=PAYMENT_PORT=8084
Environment=PAYMENT_GATEWAY=sandbox://approve
Environment=PAYMENT_LEDGER_URL=sqlite:////home/skillupworks/ledger.db
ExecStart=$uwsgi_path --ini /app/payment.ini --enable-threads
Restart=always
RestartSec=5
StandardOutput=journal
StandardError=journal
SyslogIdentifier=payment

[Install]
WantedBy=multi-user.target
EOF

systemctl daemon-reload
systemctl enable payment
systemctl start payment

dnf install firewalld -y
systemctl enable --now firewalld
firewall-cmd --permanent --add-port=8084/tcp
firewall-cmd --reload

curl --silent --show-error --fail --retry 20 --retry-connrefused --retry-delay 1 http://localhost:8084/health

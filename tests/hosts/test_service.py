"""payment.service: what its unit says, and what runs."""

UNIT = """\
#
# Ansible managed
#
[Unit]
Description=skillupworks Payment Service
Wants=network-online.target
After=network-online.target
Requires=payment.socket
After=payment.socket
# Never give up: what keeps it from starting may pass.
StartLimitIntervalSec=0

[Service]
User={payment_run_as}
Group={payment_run_as}
WorkingDirectory={payment_link}
Environment=CART_HOST={payment_cart_host}
Environment=CART_PORT={payment_cart_port}
Environment=USER_HOST={payment_user_host}
Environment=USER_PORT={payment_user_port}
Environment=AMQP_HOST={payment_amqp_host}
Environment=AMQP_USER={payment_amqp_user}
Environment=PAYMENT_BIND={payment_bind_address}
Environment=PAYMENT_PORT={payment_port}
Environment=PAYMENT_GATEWAY={payment_gateway}
Environment=PAYMENT_AMQP_PORT={payment_amqp_port}
Environment=PAYMENT_AMQP_VHOST={payment_amqp_vhost}
Environment=PAYMENT_QUEUE={payment_queue}
Environment=PAYMENT_THREADS={threads}
Environment=PAYMENT_RATE_SESSION={payment_rate_session}
Environment=PAYMENT_RATE_CLIENT={payment_rate_client}
Environment=PAYMENT_TRUSTED_PROXIES={proxies}
Environment=PAYMENT_LOG_DIR={payment_log_dir}
{ledger}{razorpay}# One heap for all threads, as Python runs one at a time: a heap for each takes a fifth more memory.
Environment=MALLOC_ARENA_MAX=1
# The secrets: files that this service alone can read, never environment variables.
{secrets}{runtime}
# The ledger: kept through releases, the service's own.
StateDirectory=skillupworks/payment
StateDirectoryMode=0700
# The socket of payment.socket: threads that lose the race for a connection must not wait in accept.
NonBlocking=true
# Stop the master alone: it lets its workers answer what is in flight.
KillMode=mixed
TimeoutStartSec=30
TimeoutStopSec=20
Restart=always
RestartSec=1
StandardOutput=journal
StandardError=journal
SyslogIdentifier=payment

# Sandbox. Files: it reads the system and its release, and writes its ledger and its log, no more.
ProtectSystem=strict
ReadWritePaths={payment_log_dir}
ProtectHome=true
PrivateTmp=true
PrivateDevices=true
RemoveIPC=true
UMask=0027
# Processes: it sees its own, and gains no rights.
ProtectProc=invisible
ProcSubset=pid
NoNewPrivileges=true
CapabilityBoundingSet=
RestrictSUIDSGID=true
RestrictNamespaces=true
# Kernel: what an ordinary network service asks of it; anything else is refused with EPERM.
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
MemoryDenyWriteExecute=true
RestrictRealtime=true
LockPersonality=true
ProtectClock=true
ProtectHostname=true
ProtectControlGroups=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
# Host: what goes wrong in it leaves the rest of the host its memory, and a worker that is killed is replaced.
MemoryMax={payment_memory_max}
TasksMax={tasks}
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
"""
RUNTIME = {
    "uwsgi": """\
# One file of counters a worker, summed up by /metrics, emptied at each start.
Environment=PROMETHEUS_MULTIPROC_DIR=/run/payment
RuntimeDirectory=payment
Type=notify
ExecStart={payment_link}/venv/bin/uwsgi --ini {payment_link}/payment.ini""",
    "python": """\
ExecStart={payment_link}/venv/bin/python {payment_link}/payment.py""",
}

LEDGER = "Environment=PAYMENT_LEDGER_URL={payment_ledger_url}\n"
RAZORPAY = "Environment=PAYMENT_RAZORPAY_KEY_ID={payment_razorpay_key_id}\n"
SECRET = "LoadCredential{encrypted}={name}:{payment_config_dir}/credentials/{name}\n"
STATE = "/var/lib/skillupworks/payment"


def test_the_unit_is_what_the_inventory_says(host, settings, secrets):
    processes = settings["payment_processes"] if settings["payment_runtime"] == "python" else 1
    runtime = RUNTIME[settings["payment_runtime"]].format(**settings)
    encrypted = "Encrypted" if settings["payment_credentials_encrypted"] else ""
    expected = UNIT.format(
        ledger=LEDGER.format(**settings) if settings["payment_ledger_url"] else "",
        razorpay=RAZORPAY.format(**settings) if settings["payment_gateway"].startswith("https://") else "",
        secrets="".join(SECRET.format(name=name, encrypted=encrypted, **settings) for name in secrets),
        runtime=runtime,
        threads=processes * settings["payment_threads"],
        tasks=settings["payment_processes"] * settings["payment_threads"] + 64,
        proxies=",".join(settings["payment_trusted_proxies"]),
        **settings,
    )
    assert host.file("/etc/systemd/system/payment.service").content_string == expected


def test_the_unit_has_no_drop_ins_and_no_errors(host, service):
    assert not service.get("DropInPaths")
    assert host.check_output("systemd-analyze verify payment.service 2>&1 | grep payment.service || true") == ""


def test_it_is_enabled_and_active(service):
    assert (service["UnitFileState"], service["ActiveState"]) == ("enabled", "active")


def test_it_did_not_need_to_be_restarted(service):
    assert service["NRestarts"] == "0"


def test_what_runs_is_what_is_configured(service):
    assert service["NeedDaemonReload"] == "no"


def test_its_processes_belong_to_its_user(host, settings, service):
    lines = host.check_output("ps -eo user:32=,pid=,ppid=").splitlines()
    family = [line.split()[0] for line in lines if service["MainPID"] in line.split()[1:]]
    assert set(family) == {settings["payment_run_as"]}
    if settings["payment_runtime"] == "uwsgi":
        assert len(family) == 1 + settings["payment_processes"], "the master and its workers"


def test_it_listens_on_the_inventorys_address_alone(host, settings):
    listening = host.check_output(f"ss -Hltn sport = :{settings['payment_port']}").splitlines()
    assert [line.split()[3] for line in listening] == [f"{settings['payment_bind_address']}:{settings['payment_port']}"]


def test_nothing_else_of_it_listens(host, settings):
    """The one socket is systemd's, which keeps it open while the service restarts."""
    assert host.socket(f"tcp://{settings['payment_bind_address']}:{settings['payment_port']}").is_listening
    uid = host.user(settings["payment_run_as"]).uid
    assert [line for line in host.check_output("ss -Hltne").splitlines() if f"uid:{uid} " in line] == []


def test_the_socket_comes_with_the_boot(host):
    shown = host.check_output("systemctl show payment.socket --property=ActiveState,UnitFileState,NeedDaemonReload")
    assert set(shown.splitlines()) == {"ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no"}


def test_the_ledger_is_the_services_alone(host, settings):
    directory, ledger = host.file(STATE), host.file(f"{STATE}/ledger.db")
    assert (directory.user, directory.mode) == (settings["payment_run_as"], 0o700)
    assert (ledger.user, ledger.is_file) == (settings["payment_run_as"], True)


def test_uwsgi_is_configured_from_the_inventory(host, settings):
    ini = host.file(f"{settings['payment_config_dir']}/payment.ini").content_string.splitlines()
    assert f"processes = {settings['payment_processes']}" in ini
    assert f"threads = {settings['payment_threads']}" in ini


def test_logs_are_rotated(host):
    tried = host.run("logrotate --debug /etc/logrotate.d/payment")
    assert tried.rc == 0
    assert "error" not in tried.stderr

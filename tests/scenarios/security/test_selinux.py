"""What SELinux would make of the service, by the policy that the host's packages bring.

The kernel under the test hosts has no SELinux, so nothing is enforced and restorecon does nothing. All else is real:
the roles are told that it is enabled, semanage changes a policy store, and setfiles, the program behind restorecon,
says of every file that the role has relabelled which context that policy has for it.
"""

import json
import re

import pytest

# As that of EL 9.0 and 9.1, it ends where a path's parent is missing.
RESTORECON = """\
#!/bin/bash
shift
for argument; do
    [[ $argument != /* || -d $(dirname "$argument") ]] && continue
    echo "restorecon: Could not get canonical path for $argument restorecon: No such file or directory." >&2
    exit 255
done
setfiles -n /etc/selinux/targeted/contexts/files/file_contexts "$@" >/run/labels
cat /run/labels
"""
# What the policy is asked: may a process of this type do that to an object of that type, and thanks to which boolean?
NEEDED = [
    ("init_t", "usr_t", "lnk_file", "read", []),  # /app
    ("init_t", "bin_t", "file", "execute", []),
    ("init_t", "etc_t", "file", "read", []),  # credentials
    ("init_t", "http_port_t", "tcp_socket", "name_bind", []),  # payment.socket
    ("logrotate_t", "var_log_t", "file", "rename", []),
    ("httpd_t", "http_port_t", "tcp_socket", "name_connect", ["httpd_can_network_relay"]),
]
QUERY = """\
import glob, json, setools
policy = setools.SELinuxPolicy(glob.glob("/etc/selinux/targeted/policy/policy.*")[0])
def allowed(source, target, kind, permission, booleans):
    query = setools.TERuleQuery(
        policy, ruletype=["allow"], source=source, target=target, tclass=[kind], perms=[permission], boolean=booleans
    )
    return any(query.results())
print(json.dumps([needed for needed in json.loads(input()) if not allowed(*needed)]))
"""
# A playbook of the roles' parts for SELinux alone.
ALONE = "../tests/scenarios/security/selinux.yml"
MOVED = {
    "payment_link": "/srv/app.d",
    "payment_root": "/srv/payment",
    "payment_config_dir": "/srv/settings",
    "payment_log_dir": "/srv/logs",
    "payment_port": 8081,  # another service's, by the policy
}


def packages(host):
    return set(host.check_output("rpm --query --all --queryformat '%{NAME}\\n'").split())


@pytest.fixture(scope="module", autouse=True)
def policy(host):
    """A policy store, which a host with SELinux has."""
    before = packages(host)
    host.check_output("dnf --assumeyes --quiet install selinux-policy-targeted")
    host.check_output("mv /usr/sbin/restorecon /usr/sbin/restorecon.kept")
    host.check_output(f"cat >/usr/sbin/restorecon <<'EOF'\n{RESTORECON}EOF\nchmod 755 /usr/sbin/restorecon")
    yield
    host.check_output("mv /usr/sbin/restorecon.kept /usr/sbin/restorecon")
    new = " ".join(packages(host) - before)
    host.check_output(f"dnf --assumeyes --quiet --noautoremove remove {new}")
    host.check_output("rm -rf /run/labels /run/query.py /srv/* /etc/selinux/targeted /var/lib/selinux/targeted")


@pytest.fixture
def labels(host):
    """Return a function: what the last run labelled, path -> type."""

    def read():
        lines = host.file("/run/labels").content_string
        return dict(re.findall(r"^Would relabel (\S+) from .* to \w+:object_r:(\w+):", lines, re.MULTILINE))

    return read


@pytest.fixture
def customizations(host):
    """Return a function: what was added to the policy."""
    return lambda: {line for line in host.check_output("semanage export").split("\n") if not line.endswith(" -D")}


def types(labels, folder):
    """The types that a folder and all in it have."""
    return {kind for path, kind in labels.items() if path == folder or path.startswith(f"{folder}/")}


def test_check_mode_tells_of_it_on_a_host_without_semanage(play, host):
    played = play(ALONE, "--check", "--tags=payment", selinux_policy_managed=True)
    assert played.code == 0, played.output
    assert re.search(r"Add those that it lacks\] .*\n(changed: .*\n)+", played.output)
    assert not host.exists("semanage")


def test_everything_has_the_type_that_its_use_needs(play, host, labels, customizations):
    played = play("site.yml", selinux_policy_managed=True)
    assert played.code == 0, played.output
    assert customizations() == {
        "fcontext -a -f l -t usr_t -r 's0' '/app'",
        "port -a -t http_port_t -r 's0' -p tcp 8084",
    }

    seen = labels()
    release = host.check_output("readlink /app")
    venv = f"{release}/venv"
    assert seen[f"{venv}/bin/uwsgi"] == seen[f"{venv}/bin/python"] == "bin_t"
    assert types(seen, f"{venv}/bin") == {"bin_t"}
    assert types(seen, f"{venv}/lib") == {"lib_t"}
    assert seen["/app"] == seen[release] == seen[f"{release}/payment.py"] == seen[f"{release}/REVISION"] == "usr_t"
    assert seen[f"{release}/payment.ini"] == seen[f"{release}/venv"] == "usr_t"
    assert types(seen, "/opt/skillupworks/payment/proven") == {"usr_t"}
    assert types(seen, "/etc/skillupworks/payment") == {"etc_t"}
    assert "/etc/skillupworks/payment/credentials/amqp_password" in seen
    assert types(seen, "/var/lib/skillupworks/payment") == {"var_lib_t"}
    assert types(seen, "/var/log/skillupworks") == {"var_log_t"}
    assert seen["/etc/logrotate.d/payment"] == "etc_t"
    for unit in ("payment.service", "payment.socket"):  # the first is Red Hat's name, the second the reference policy's
        assert seen[f"/etc/systemd/system/{unit}"] in ("systemd_unit_file_t", "systemd_unit_t")


def test_paths_and_port_that_were_moved_are_followed(play, host, labels, customizations):
    release = "/srv/payment/releases/1.0.0-0123456789ab"
    files = [f"{release}/{name}" for name in ("venv/bin/uwsgi", "venv/lib/python3.11/site-packages/x.so", "payment.py")]
    files += ["/srv/settings/credentials/amqp_password", "/srv/logs/payment.log"]
    for file in files:
        host.check_output(f"mkdir -p $(dirname {file}) && touch {file}")
    host.check_output(f"ln -s {release} /srv/app.d")

    before = customizations()
    checked = play(ALONE, "--tags=payment", "--check", selinux_policy_managed=True, **MOVED)
    assert checked.recap("payment-1")["changed"] == 2, checked.output  # what is added and what is labelled
    assert customizations() == before

    played = play(ALONE, "--tags=payment", selinux_policy_managed=True, **MOVED)
    assert played.code == 0, played.output
    seen = labels()
    assert [seen[file] for file in files] == ["bin_t", "lib_t", "usr_t", "etc_t", "var_log_t"]
    assert seen["/srv/app.d"] == seen[release] == "usr_t"
    assert "port -a -t http_port_t -r 's0' -p tcp 8081" in customizations()

    again = play(ALONE, "--tags=payment", selinux_policy_managed=True, **MOVED)
    assert again.recap("payment-1")["changed"] == 1, again.output  # the labels, which the kernel here does not keep


def test_where_nothing_of_it_is_there_yet(play):
    """A first deployment compares the labels before it has made the folders."""
    absent = {name: f"/srv/absent{path}" for name, path in MOVED.items() if name != "payment_port"}
    played = play(ALONE, "--tags=payment", selinux_policy_managed=True, **absent)
    assert played.code == 0, played.output


def test_a_frontends_nginx_may_connect_to_the_payment_hosts_port(play, customizations):
    played = play(ALONE, "--tags=frontend", selinux_policy_managed=True, payment_port=8085)
    assert played.code == 0, played.output
    assert {"port -a -t http_port_t -r 's0' -p tcp 8085", "boolean -m -1 httpd_can_network_relay"} <= customizations()


def test_the_policy_allows_what_these_types_are_for(host):
    host.check_output(f"cat >/run/query.py <<'EOF'\n{QUERY}EOF")
    refused = host.check_output(f"echo '{json.dumps(NEEDED)}' | python3 /run/query.py")
    assert json.loads(refused) == []

"""Python 3.11 beside the platform's Python."""


def test_packages_are_installed(host, settings):
    missing = [name for name in settings["python_runtime_packages"] if not host.package(name).is_installed]
    assert not missing


def test_python_is_3_11(host):
    assert host.check_output("/usr/bin/python3.11 --version").startswith("Python 3.11.")


def test_the_platforms_python_is_left_alone(host):
    """dnf and firewalld are written for it, so `python3` must not become 3.11's."""
    assert host.run("/usr/bin/python3 -c 'import dnf, firewall'").rc == 0
    assert "python3.11" not in host.check_output("readlink --canonicalize /usr/bin/python3")

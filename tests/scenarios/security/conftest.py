"""What is refused, or only looked at, must leave the host as it was."""

import pytest


@pytest.fixture(scope="module")
def as_deployed(settings):
    """Variables with which a run of site.yml finds nothing to change: those of the inventory, without `play`'s own."""
    return {"payment_rate_client": settings["payment_rate_client"]}


@pytest.fixture
def unchanged(host):
    """The test leaves links, units, configuration, releases, accounts, ports and the running processes as they were."""

    def state():
        return host.check_output(
            "readlink /app; systemctl show payment.service payment.socket firewalld.service"
            " --property=MainPID,ActiveEnterTimestamp,UnitFileState --value;"
            " find /app /opt/skillupworks /etc/skillupworks /etc/systemd/system /etc/logrotate.d /etc/firewalld"
            r" -printf '%p %i %C@ %m %U %l\n' | sort; md5sum /etc/passwd /etc/group"
        )

    before = state()
    yield
    assert state() == before

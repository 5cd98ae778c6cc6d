"""The user that the service runs as, and its log directory."""


def test_user(host, settings):
    user = host.user(settings["service_account_name"])
    assert user.exists
    assert user.groups == [settings["service_account_name"]]
    assert user.shell == settings["service_account_shell"]
    assert user.home == settings["service_account_home"]
    assert 0 < user.uid < 1000, "a service is a system user"


def test_nobody_can_log_in_as_it(host, settings):
    assert host.user(settings["service_account_name"]).password in ("!", "!!", "*")


def test_log_directory(host, settings):
    directory = host.file(settings["service_account_log_dir"])
    assert directory.is_directory
    assert (directory.user, directory.group, directory.mode) == (settings["service_account_name"],) * 2 + (0o750,)
    parent = host.file("/var/log")
    assert (parent.user, parent.mode) == ("root", 0o755)

"""An artifact that must not be unpacked is refused, in words that name the entry."""

import stat
import zipfile

import pytest

from conftest import ROOT, plugin

ARTIFACT = plugin(ROOT / "roles/payment/library/payment_artifact.py")
GOOD = {"payment.py": "print('hello')\n", "requirements.txt": ""}
FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


def problems_with(path, *entries, without=()):
    """Return what is found in a zip of GOOD and `entries`, each a (name, mode) or (name, mode, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in GOOD.keys() - set(without):
            archive.writestr(name, GOOD[name])
        for name, mode, *content in entries:
            entry = zipfile.ZipInfo("placeholder")
            entry.filename = entry.orig_filename = name  # as it is: ZipInfo itself would mend it
            entry.create_system, entry.external_attr = 3, mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content[0] if content else b"x")
    problems, _ = ARTIFACT.look_into(path)
    return problems


def test_a_good_one(tmp_path):
    path = tmp_path / "a.zip"
    entries = [("package/", DIRECTORY), ("package/a..b.py", FILE), ("bin/run", stat.S_IFREG | 0o755), ("plain", 0)]
    assert problems_with(path, *entries) == []


def test_wheels_are_seen(tmp_path):
    path = tmp_path / "a.zip"
    problems_with(path, ("wheels/requirements.txt", FILE))
    assert ARTIFACT.look_into(path) == ([], True)


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("../climbed", FILE, "its entry '../climbed' leads out of the release"),
        ("a/../../climbed", FILE, "leads out of the release"),
        ("a/..", DIRECTORY, "leads out of the release"),
        ("/etc/climbed", FILE, "its entry '/etc/climbed' leads out of the release"),
        ("C:/climbed", FILE, "leads out of the release"),
        ("..\\climbed", FILE, "has a name that not every unpacker reads alike"),
        ("a\\..\\..\\climbed", FILE, "has a name that not every unpacker reads alike"),
        ("a\nb", FILE, "has a name that not every unpacker reads alike"),
        ("static", stat.S_IFLNK | 0o777, "its entry 'static' is a link or a device"),
        ("console", stat.S_IFCHR | 0o600, "is a link or a device"),
        ("disk", stat.S_IFBLK | 0o600, "is a link or a device"),
        ("pipe", stat.S_IFIFO | 0o600, "is a link or a device"),
        ("socket", stat.S_IFSOCK | 0o600, "is a link or a device"),
        ("root-shell", stat.S_IFREG | 0o4755, "its entry 'root-shell' is setuid, setgid or sticky"),
        ("group-shell", stat.S_IFREG | 0o2755, "is setuid, setgid or sticky"),
        ("no-type", 0o4755, "is setuid, setgid or sticky"),
        ("shared/", stat.S_IFDIR | 0o1777, "is setuid, setgid or sticky"),
        ("REVISION", FILE, "is in the place of what the role writes"),
        ("venv/bin/python", FILE, "is in the place of what the role writes"),
        ("payment.py/x", FILE, "its entry 'payment.py/x' lies in a file"),
    ],
)
def test_an_entry_that_must_not_be_unpacked(tmp_path, name, mode, said):
    problems = problems_with(tmp_path / "a.zip", (name, mode))
    assert len(problems) == 1
    assert said in problems[0]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice(tmp_path):
    """Python would run the one and unzip write the other."""
    assert problems_with(tmp_path / "a.zip", ("payment.py", FILE)) == ["its entry 'payment.py' is there twice"]


@pytest.mark.parametrize("name", GOOD)
def test_one_that_lacks_what_a_release_needs(tmp_path, name):
    assert problems_with(tmp_path / "a.zip", without=[name]) == [f"it has no {name} at its top"]


def test_one_that_unpacks_to_too_much(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    monkeypatch.setattr(ARTIFACT, "MOST_BYTES", 2**20)
    assert problems_with(path, ("zeros", FILE, bytes(2**21))) == ["it unpacks to 2 MiB, more than 1"]
    assert path.stat().st_size < 10_000


def test_one_with_too_many_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(ARTIFACT, "MOST_ENTRIES", 3)
    assert problems_with(tmp_path / "a.zip", ("a", FILE), ("b", FILE)) == ["it has 4 entries, more than 3"]


def test_one_that_is_damaged(tmp_path):
    path = tmp_path / "a.zip"
    problems_with(path, ("static", FILE, bytes(range(256)) * 40))
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert "it is no complete zip" in ARTIFACT.look_into(path)[0][0]
    at = whole.index(b"static") + 60
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    problems = ARTIFACT.look_into(path)[0]
    assert len(problems) == 1
    assert "damaged" in problems[0] or "no complete zip" in problems[0]

#!/usr/bin/python3
"""Turn the Debian packages of a build root into RPMs under EL9 names.

Runs inside the Debian root, while dpkg is still there. Every .deb in apt's cache becomes one RPM:

* packages that are installed go to WORK/base, for the image's RPM database;
* all others go to WORK/repository, a dnf repository.

Names and differences are in el9.toml, the frame of the RPMs is in el9-standin.spec.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

HERE = Path(__file__).parent
DEBS = Path("/var/cache/apt/archives")
RELEASE_PACKAGE = "el9-standin-release"

TABLES = tomllib.loads((HERE / "el9.toml").read_text())
NAMES = TABLES["names"]
DIFFERENCES = TABLES["package"]
DROPPED, DEFERRED, ABSORBED = (set(TABLES[key]) for key in ("dropped", "deferred", "absorbed"))
EXCLUDED = re.compile("|".join(TABLES["excluded_paths"]))

ADD_USER = """\
getent group {name} >/dev/null || groupadd -r {name}
getent passwd {name} >/dev/null || useradd -r -g {name} -d {home} -s /sbin/nologin -c "{comment}" {name}
"""


# ---------------------------------------------------------------- Debian's side


def output(*command: str | Path) -> bytes:
    """Return what a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def names_in(relations: str) -> list[list[str]]:
    """Take the names from a Depends or Provides line: one list of alternatives for every clause."""
    clauses = (clause for clause in relations.replace("\n", " ").split(",") if clause.strip())
    return [[re.split(r"[ (:]", name.strip())[0] for name in clause.split("|")] for clause in clauses]


@dataclass
class Package:
    """A Debian package and what becomes of it."""

    deb: Path
    control: dict[str, str]
    in_base: bool
    entries: dict[str, bool] = field(default_factory=dict)  # path -> is it a folder
    attributes: dict[str, str] = field(default_factory=dict)  # path -> %attr, where it is not root:root

    @property
    def debian_name(self) -> str:
        """The name of the .deb."""
        return self.control["Package"]

    @property
    def name(self) -> str:
        """The name of the RPM."""
        return NAMES.get(self.debian_name, self.debian_name)

    @property
    def difference(self) -> dict:
        """The package's section of el9.toml."""
        return DIFFERENCES.get(self.debian_name, {})

    @property
    def provides(self) -> list[str]:
        """The virtual packages that Debian's package provides."""
        return [name for clause in names_in(self.control.get("Provides", "")) for name in clause]

    @property
    def depends(self) -> list[list[str]]:
        """What Debian's package needs."""
        return names_in(self.control.get("Pre-Depends", "")) + names_in(self.control.get("Depends", ""))

    @property
    def own_files(self) -> dict[str, Path]:
        """The files that payload/ adds: path on the host -> source."""
        folder = HERE / "payload" / self.debian_name
        return {f"/{file.relative_to(folder)}": file for file in folder.rglob("*") if file.is_file()}

    def configuration(self) -> set[str]:
        """Find the paths that count as configuration files."""
        with tarfile.open(fileobj=io.BytesIO(output("dpkg-deb", "--ctrl-tarfile", self.deb))) as archive:
            listed = "./conffiles" in archive.getnames()
            paths = archive.extractfile("./conffiles").read().decode().split() if listed else []
        return {usr_merged(path) for path in paths} | {path for path in self.own_files if path.startswith("/etc/")}


def read_packages() -> dict[str, Package]:
    """Read all packages in apt's cache, by Debian name; those that EL does not have are left out."""
    installed = set(output("dpkg-query", "--show", "--showformat", "${Package}\n").decode().split())
    packages = {}
    for deb in sorted(DEBS.glob("*.deb")):
        text = output("dpkg-deb", "--field", deb).decode()
        control = dict(re.findall(r"^([A-Za-z-]+): *(.*(?:\n .*)*)", text, re.MULTILINE))
        name = control["Package"]
        packages[name] = Package(deb, control, name in installed - DEFERRED)

    if missing := installed - set(packages):
        sys.exit(f"no .deb for the installed packages {sorted(missing)}")
    if unused := (set(NAMES) | set(DIFFERENCES) | DROPPED | DEFERRED | ABSORBED) - set(packages):
        sys.exit(f"el9.toml has entries for packages that are not here: {sorted(unused)}")
    return {name: package for name, package in packages.items() if name not in DROPPED}


# ---------------------------------------------------------------- payload


def usr_merged(path: str) -> str:
    """Make a path absolute, with /bin, /sbin and /lib below /usr."""
    return re.sub(r"^/(bin|sbin|lib|lib64)(/|$)", r"/usr/\1\2", os.path.normpath(f"/{path}"))


def place(path: str, moved: dict[str, str]) -> str:
    """Say where a path of a Debian package belongs on the host."""
    path = usr_merged(path)
    for old, new in moved.items():
        if path == old or path.startswith(f"{old}/"):
            return new + path[len(old) :]
    return path


def unpack(deb: Path, package: Package, root: Path) -> None:
    """Unpack a .deb as a part of a package below root."""
    moved = package.difference.get("moved", {})
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as reader,
        tarfile.open(fileobj=reader.stdout, mode="r|") as archive,
    ):
        for member in archive:
            path = place(member.name, moved)
            if path == "/" or EXCLUDED.match(f"{path}/" if member.isdir() else path):
                continue
            member.name = path.lstrip("/")
            if member.islnk():
                member.linkname = place(member.linkname, moved).lstrip("/")
            if not (member.isdir() and (root / member.name).is_dir()):
                archive.extract(member, root)
            package.entries[path] = member.isdir()
            if (member.uname, member.gname) != ("root", "root"):
                package.attributes[path] = f"%attr(-,{member.uname},{member.gname})"


def stage(package: Package, debs: list[Path], root: Path) -> Package:
    """Put a package's whole payload below root: the .debs, then what el9.toml and payload/ say."""

    def new(path: str, *, folder: bool = False) -> Path:
        """Add a path to the package and make the folder for it."""
        package.entries[path] = folder
        target = root / path.lstrip("/")
        (target if folder else target.parent).mkdir(parents=True, exist_ok=True)
        return target

    difference = package.difference
    for deb in debs:
        unpack(deb, package, root)
    for link, target in difference.get("links", {}).items():
        new(link).symlink_to(target)
    for path, source in package.own_files.items():
        shutil.copyfile(source, new(path))
    for path in difference.get("directories", []):
        new(path, folder=True)
    for path, interpreter in difference.get("shebang", {}).items():
        script = root / path.lstrip("/")
        script.write_text(f"#!{interpreter}\n" + script.read_text().split("\n", 1)[1])
    for path, owner in difference.get("owned", {}).items():
        package.attributes[path] = f"%attr({','.join(owner)})"
    return package


def stage_all(packages: dict[str, Package], root: Path) -> list[Package]:
    """Put all payload below root, on all cores, the largest packages first."""
    wanted = [package for name, package in packages.items() if name not in ABSORBED]
    wanted.sort(key=lambda package: package.deb.stat().st_size, reverse=True)
    debs = [[packages[name].deb for name in (p.debian_name, *p.difference.get("with", []))] for p in wanted]
    with ProcessPoolExecutor() as workers:
        return list(workers.map(stage, wanted, debs, repeat(root)))


# ---------------------------------------------------------------- RPM's side


class Writer:
    """Writes the %package sections of the spec file and their lists of files."""

    def __init__(self, packages: dict[str, Package], staged: list[Package], lists: Path) -> None:
        """Take in what a single section has to know about all other packages."""
        self.packages = packages
        self.lists = lists
        self.known = set(packages) | {name for package in packages.values() for name in package.provides}
        self.base_folders = {
            path for package in staged if package.in_base for path, is_folder in package.entries.items() if is_folder
        }

    def requires(self, package: Package, parts: list[Package]) -> set[str]:
        """Choose the dependencies: of every clause the first alternative that exists."""
        unwanted = {part.debian_name for part in parts} | (DEFERRED if package.in_base else set())
        names = set(package.difference.get("requires", []))
        for clause in (clause for part in parts for clause in part.depends):
            candidates = [name for name in clause if name in self.known]
            if candidates and candidates[0] not in unwanted:
                names.add(candidates[0])
        return names

    def write_list(self, package: Package) -> Path:
        """Write the list of a package's files. Folders of the base belong to the base alone."""
        configuration = package.configuration()
        path_of_list = self.lists / package.name
        with path_of_list.open("w") as lines:
            for path, is_folder in sorted(package.entries.items()):
                if is_folder and not package.in_base and path in self.base_folders:
                    continue
                kind = "%dir" if is_folder else "%config(noreplace)" if path in configuration else ""
                # rpm takes a backslash in %files for an escape and never undoes it: ? matches the same file.
                quoted = '"' + path.replace("%", "%%").replace("\\", "?") + '"'
                lines.write(" ".join(filter(None, [package.attributes.get(path), kind, quoted])) + "\n")
        return path_of_list

    def section(self, package: Package) -> str:
        """Compose what the spec file says about a package."""
        absorbed = [self.packages[name] for name in package.difference.get("with", []) if name in ABSORBED]
        parts = [package, *absorbed]
        epoch, _, version_and_release = package.control["Version"].rpartition(":")
        version, _, release = version_and_release.rpartition("-")
        if not version:
            version, release = version_and_release, "1"
        names = (
            {part.debian_name for part in parts} | set(package.provides) | set(package.difference.get("provides", []))
        )
        summary = package.control["Description"].split("\n")[0].replace("%", "%%")
        noarch = package.control["Architecture"] == "all" and "with" not in package.difference

        lines = [
            f"%package -n {package.name}",
            f"Summary: {summary}",
            *([f"Epoch: {epoch}"] if epoch else []),
            f"Version: {version.replace('-', '_')}",
            f"Release: {release}.el9standin",
            "License: see Debian",
            "AutoReqProv: no",
            *(["BuildArch: noarch"] if noarch else []),
            *(f"Requires: {name}" for name in sorted(self.requires(package, parts))),
            *(f"Provides: {name}" for name in sorted(names - {package.name})),
            f"%description -n {package.name}",
            f"Debian {package.debian_name} {package.control['Version']}, converted.",
            f"%files -n {package.name} -f {self.write_list(package)}",
        ]
        if "user" in package.difference:
            lines += [f"%pre -n {package.name}", ADD_USER.format(**package.difference["user"])]
        return "\n".join(lines) + "\n"


def build_rpms(payload: Path, packages: Path, work: Path) -> list[Path]:
    """Run rpmbuild over all packages at once."""
    defines = {"payload": payload, "packages": packages, "_rpmdir": work / "rpms", "_topdir": work / "top"}
    options = [part for name, value in defines.items() for part in ("--define", f"{name} {value}")]
    command = ["rpmbuild", "-bb", "--quiet", "--target", "x86_64", *options, HERE / "el9-standin.spec"]
    subprocess.run(command, check=True)
    return list((work / "rpms").glob("*/*.rpm"))


def main(work: Path) -> None:
    """Convert everything; the results are work/base and work/repository."""
    payload, lists, base, repository = (work / name for name in ("payload", "lists", "base", "repository"))
    for folder in (payload, lists, base, repository):
        folder.mkdir(parents=True)

    packages = read_packages()
    staged = stage_all(packages, payload)
    writer = Writer(packages, staged, lists)
    generated = work / "packages.spec"
    generated.write_text("\n".join(writer.section(package) for package in staged))

    base_names = {package.name for package in staged if package.in_base} | {RELEASE_PACKAGE}
    for rpm in build_rpms(payload, generated, work):
        name = rpm.name.rsplit("-", 2)[0]
        shutil.move(rpm, base if name in base_names else repository)
    subprocess.run(["createrepo_c", "--quiet", "--compatibility", repository], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

#!/usr/bin/env python3
"""Pack the app's folder into the artifact that a release is made of.

The same sources, version and wheels give the same bytes on every machine: entries are sorted, stored without
compression (compressors differ between versions) and carry one fixed time and mode. Prints {"path", "version",
"sha256"} as JSON.
"""

import argparse
import hashlib
import io
import json
import os
import re
import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def files_of(folder: Path) -> dict[str, bytes]:
    """Return name -> content of every file below `folder`, caches and hidden files aside."""
    names = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if not any(part == "__pycache__" or part.startswith(".") for part in name.parts)
    }


def pack(files: dict[str, bytes]) -> bytes:
    """Return the zip of `files`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def version_of(text: str) -> str:
    """Return `text` if it can name a release."""
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+_]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no version. Write one like 1.2.0")
    return text


def build(source: Path, directory: Path, version: str | None = None, wheels: Path | None = None) -> dict[str, str]:
    """Put the zip into `directory`, unless it is there already; return its `path`, `version` and `sha256`."""
    files = files_of(source)
    if version:
        files["VERSION"] = f"{version}\n".encode()
    if wheels:
        files |= {f"wheels/{name}": content for name, content in files_of(wheels).items()}
    artifact = pack(files)
    version = files["VERSION"].decode().strip()
    sha256 = hashlib.sha256(artifact).hexdigest()
    path = directory / f"skillupworks-payment-{version}-{sha256[:12]}.zip"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(artifact)
        partial.rename(path)
    return {"path": str(path.resolve()), "version": version, "sha256": sha256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the app's folder")
    parser.add_argument("directory", type=Path, help="where to put skillupworks-payment-<version>-<sha12>.zip")
    parser.add_argument("--version", type=version_of, help="the version, in place of what the app's file VERSION says")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to bring along, with their requirements.txt")
    args = parser.parse_args()
    print(json.dumps(build(args.source, args.directory, args.version, args.wheels)))


if __name__ == "__main__":
    main()

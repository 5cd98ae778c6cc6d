#!/usr/bin/env python3
"""Pack the app's folder into the artifact that a release is made of.

The same sources give the same bytes on every machine: entries are sorted, stored without compression (compressors
differ between versions) and carry one fixed time and mode. Prints {"path", "version", "sha256"} as JSON.
"""

import argparse
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def pack(source: Path) -> bytes:
    """Return the zip of every file below `source`, caches and hidden files aside."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source)
            if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
                entry = zipfile.ZipInfo(name.as_posix(), EPOCH)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the app's folder; its file VERSION names the version")
    parser.add_argument("directory", type=Path, help="where to put skillupworks-payment-<version>-<sha12>.zip")
    args = parser.parse_args()

    artifact = pack(args.source)
    version = (args.source / "VERSION").read_text().strip()
    sha256 = hashlib.sha256(artifact).hexdigest()
    path = args.directory / f"skillupworks-payment-{version}-{sha256[:12]}.zip"
    if not path.exists():
        args.directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(artifact)
        partial.rename(path)
    print(json.dumps({"path": str(path.resolve()), "version": version, "sha256": sha256}))


if __name__ == "__main__":
    main()

"""Has Python keep what it compiles of archives, on test hosts and beside them: each task's module comes as one, and a
run of all tests has some ten thousand of them, whose time goes mostly into compiling the same lines again.
"""

import _imp
import marshal
import os
import sys
import zipimport

FOLDER = os.environ.get("KEEP_COMPILED", "/var/cache") + f"/compiled-{sys.implementation.cache_tag}"
_compile = zipimport._compile_source


def _kept(path, source, *more):
    file = f"{FOLDER}/{_imp.source_hash(0, source).hex()}"
    try:
        with open(file, "rb") as kept:
            return marshal.loads(kept.read())  # of a file itself, it is three times as slow
    except (OSError, EOFError, ValueError, TypeError):
        code = _compile(path, source, *more)
    try:
        os.makedirs(FOLDER, exist_ok=True)
        with open(f"{file}.{os.getpid()}", "wb") as kept:
            marshal.dump(code, kept)
        os.replace(kept.name, file)
    except OSError:
        pass  # a user who is not root, or a full disk
    return code


zipimport._compile_source = _kept

"""The artifact of the bundled app, built by files/bundle.py in Ansible's own process."""

import importlib.util
from pathlib import Path

from ansible.plugins.lookup import LookupBase

BUNDLE = Path(__file__).parents[1] / "files/bundle.py"

DOCUMENTATION = r"""
name: payment_bundle
short_description: Packs the app's folder into the artifact of a release
description:
  - Returns the C(path), C(version) and C(sha256) of the zip. One that is there already is not written again.
options:
  _terms:
    description: The app's folder, and where to put the zip.
    required: true
"""


class LookupModule(LookupBase):
    """lookup('payment_bundle', source, directory)"""

    def run(self, terms, variables=None, **kwargs):
        spec = importlib.util.spec_from_file_location("payment_bundle_program", BUNDLE)
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        source, directory = map(Path, terms)
        return [program.build(source, directory)]

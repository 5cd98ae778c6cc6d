#!/bin/bash
# ansible-core 2.19.14: a filter that deep-copies a list or dict which it was given copies all variables of the play with it.
#
# Expected: copy.deepcopy of a list of two numbers copies a list of two numbers.
# Seen: variables reach filters as lazy containers that hold the template engine, and a deep copy takes that along, with
# every variable that it knows. ansible-core's own ArgumentSpecValidator begins with such a copy, so a filter that holds
# variables against an argument spec takes a second where the play has many. Plain containers are copied as one expects.
set -euo pipefail
work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ansible-core==2.19.14
mkdir filter_plugins
cat >filter_plugins/copies.py <<'END'
import copy


class Noticed:
    """Counts how often it is copied."""

    copies = 0

    def __deepcopy__(self, memo):
        Noticed.copies += 1
        return self


def copies(value, notice):
    """Say how many of the play's other variables a deep copy of `value` copies, and one of the same as plain Python."""
    before = Noticed.copies
    templar = value._templar
    templar._variables["another variable of the play"] = Noticed()
    copy.deepcopy(value)
    lazy = Noticed.copies - before
    copy.deepcopy([each for each in value])
    return {"lazy": lazy, "plain": Noticed.copies - before - lazy, "kind": type(value).__name__}


class FilterModule:
    def filters(self):
        return {"copies": copies}
END
cat >play.yml <<'END'
- hosts: localhost
  gather_facts: false
  vars:
    numbers: [1, 2]
  tasks:
    - debug: {msg: "{{ numbers | copies(0) }}"}
END
venv/bin/ansible-playbook -i localhost, -c local play.yml

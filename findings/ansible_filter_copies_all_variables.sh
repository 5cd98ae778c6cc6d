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
"${PYTHON:-python3}" -m venv venv
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


def copied(value):
    """Say how often a variable of the play is copied with `value`, and with the same as a list of Python's own."""
    value._templar._variables["another variable of the play"] = Noticed()
    copy.deepcopy(value)
    lazy = Noticed.copies
    copy.deepcopy([each for each in value])
    return {"given": lazy, "plain": Noticed.copies - lazy, "kind": type(value).__name__}


class FilterModule:
    def filters(self):
        return {"copied": copied}
END
cat >play.yml <<'END'
- hosts: localhost
  gather_facts: false
  vars:
    numbers: [1, 2]
  tasks:
    - set_fact: {seen: "{{ numbers | copied }}"}
    - assert:
        that: seen.given == 1 and seen.plain == 0
        fail_msg: "this has changed: {{ seen }}"
        success_msg: "as described: {{ seen }}"
END
venv/bin/ansible-playbook -i localhost, -c local play.yml

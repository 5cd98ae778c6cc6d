"""Hold an inventory's variables against the roles' argument specs: a name that none has, a value of another type.

On the controller, for every host of the inventory, whatever --limit says. A sentence begins with the variable's name.
"""

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from jinja2 import UndefinedError

TYPES = {
    "str": "text",
    "path": "an absolute path",
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a list of names, each with its value",
}
LOWEST = {
    "payment_live_tries": 1,
    "payment_releases_kept": 1,
    "payment_route_connect_timeout": 1,
    "payment_route_read_timeout": 1,
    "payment_route_fail_timeout": 1,
}
ACCOUNT = r"(?!root$)[a-z_][a-z0-9_-]{0,31}", "the name of a system user, such as skillupworks"
FORMS = {
    "payment_memory_max": (r"([1-9][0-9]?|100)%|[1-9][0-9]*[KMG]?", "a share of the host's such as 70%, or 350M"),
    "payment_serial": (r"[1-9][0-9]*|([1-9][0-9]?|100)%", "a number of hosts, or a percentage such as 25%"),
    "payment_run_as": ACCOUNT,
    "service_account_name": ACCOUNT,
    "app_firewall_ports": (r"[0-9]{1,5}(-[0-9]{1,5})?/(tcp|udp|sctp|dccp)", "port/protocol, such as 8084/tcp"),
    "app_firewall_zone": (r"[A-Za-z0-9_/-]*", "the name of a zone, or nothing for the default one"),
    "payment_route_location_file": (r"/etc/nginx/[A-Za-z0-9._/-]+", "a file below /etc/nginx"),
    "payment_route_max_body": (r"[0-9]+[kKmMgG]?", "a size such as 64k"),
    "payment_route_rate": (r"([1-9][0-9]*r/[sm])?", "a rate such as 100r/s, or nothing for no limit"),
}
PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
# What the roles would fill, replace or give to the service's user.
OF_THE_SYSTEM = {
    *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root"),
    *("/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/sbin"),
    *("/usr/share", "/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp", "/etc/systemd", "/etc/systemd/system"),
}


def options_of(roles: Path) -> dict[str, dict]:
    """Return name -> option of every argument spec in the folder `roles`."""
    specs = (yaml.safe_load(file.read_text()) for file in sorted(roles.glob("*/meta/argument_specs.yml")))
    return {name: option for spec in specs for name, option in spec["argument_specs"]["main"]["options"].items()}


def plain(value: object) -> object:
    """Return a list or mapping of Ansible's as Python's own. The validator copies it, and a copy of Ansible's has all
    that it is templated with in it, which takes a second."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


@functools.cache  # hosts have most names in common
def unknown_name(name: str, known: tuple[str, ...], prefixes: tuple[str, ...]) -> str | None:
    """Say that no role has the variable `name`, and which one may be meant; None for what is not ours."""
    if name.startswith("_"):  # what tasks register, and what tests set
        return None
    if not name.startswith(prefixes):  # then only a slip in the prefix itself
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.9)
        return f"{name} is no variable of these roles. Did you mean {near[0]}?" if near else None
    # What all names begin with makes none of them nearer.
    prefix = max((prefix for prefix in prefixes if name.startswith(prefix)), key=len)
    rests = [each.removeprefix(prefix) for each in known if each.startswith(prefix)]
    rest = name.removeprefix(prefix)
    near = difflib.get_close_matches(rest, rests)
    near.sort(key=lambda other: sorted(other) != sorted(rest))  # swapped letters first
    near = [prefix + other for other in near] or difflib.get_close_matches(name, known, n=1, cutoff=0.9)
    advice = f"Did you mean {near[0]}?" if near else "Remove it; roles/*/README.md have tables of those that there are."
    return f"{name} is no variable of these roles. {advice}"


def path_advice(path: str) -> str | None:
    """Say what to write in place of `path`, or return None."""
    if not PATH.fullmatch(path) or ".." in PurePosixPath(path).parts:
        return "Write an absolute path, without spaces, quotes and .."
    if str(PurePosixPath(path)) in OF_THE_SYSTEM:
        return "That is the system's. Write a directory of the service's own."
    return None


def advice_on(name: str, value: object, option: dict) -> str | None:
    """Say what to write in place of `value`, or return None."""
    kind = option["type"]
    spec = {key: option[key] for key in ("type", "elements", "choices") if key in option}
    mistyped = kind in ("str", "path") and isinstance(value, list | Mapping)  # which Ansible would make text of
    # A fraction, even of nothing, passes Ansible's own check and reaches the roles as it is.
    mistyped |= kind == "int" and not re.fullmatch(r"-?[0-9]+", str(value))
    if mistyped or ArgumentSpecValidator({name: spec}).validate({name: value}).error_messages:
        return f"Write {' or '.join(option['choices']) if 'choices' in option else TYPES[kind]}."
    if kind == "int" and int(value) < LOWEST.get(name, 0):
        return f"Write a whole number from {LOWEST.get(name, 0)} up."
    if name in FORMS:
        form, example = FORMS[name]
        texts = map(str, value if isinstance(value, list) else [value])
        return None if all(re.fullmatch(form, text) for text in texts) else f"Write {example}."
    return path_advice(str(value)) if kind == "path" else None


def problem_of(name: str, value: object, option: dict) -> str | None:
    """Say what is wrong with the value of a variable, or return None."""
    if value is None:
        return f"{name} has no value. Write {TYPES[option['type']]}, or remove the line."
    advice = advice_on(name, value, option)
    # What looks like a URL with a user or a query may hold a password as well.
    is_secret = name.endswith(("password", "secret")) or re.search("[@?]", str(value))
    shown = "not what it must be" if is_secret else repr(value)
    return f"{name} is {shown}. {advice}" if advice else None


def problems_of(variables: Mapping, options: dict[str, dict], prefixes: tuple[str, ...]) -> Iterator[str]:
    """Yield a sentence for each variable of one host that cannot be meant."""
    for name in variables:
        if name in options:
            try:
                problem = problem_of(name, plain(variables[name]), options[name])
            except (AnsibleError, UndefinedError):  # it is made of a role's default, which only the play knows
                continue
        else:
            problem = unknown_name(name, tuple(options), prefixes)
        if problem:
            yield problem


def payment_variable_problems(hostvars: Mapping, hosts: list[str], roles: str) -> dict[str, list[str]]:
    """Return host -> sentences, each sentence under the first host that it holds for; `roles` is the roles' folder."""
    options = options_of(Path(roles))
    prefixes = tuple(f"{file.parts[-3]}_" for file in Path(roles).glob("*/meta/argument_specs.yml"))
    said: set[str] = set()
    found = {}
    for host in hosts:
        new = [problem for problem in problems_of(hostvars[host], options, prefixes) if problem not in said]
        said.update(new)
        found[host] = new
    return found


class FilterModule:
    """The filter for the payment role's validation."""

    def filters(self) -> dict:
        return {"payment_variable_problems": payment_variable_problems}

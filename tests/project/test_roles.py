"""What a role promises in its argument specs is what it does by default, and what its README says."""

import re

import pytest

from conftest import ROLES, ROOT, load, plugin
from role_tables import table, tables_of


@pytest.fixture(params=ROLES)
def role(request):
    return ROOT / "roles" / request.param


@pytest.fixture
def options(role):
    return load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def test_specs_equal_defaults(role, options):
    defaults = load(role / "defaults/main.yml")
    assert {name: option["default"] for name, option in options.items() if "default" in option} == defaults


def test_what_has_no_default_is_required(options):
    assert all(option.get("required") for option in options.values() if "default" not in option)


def test_every_option_is_described_and_typed(options):
    assert [name for name, option in options.items() if not option.get("description") or not option.get("type")] == []


def test_names_carry_the_roles_prefix(role, options):
    assert [name for name in options if not name.startswith(role.name + "_")] == []


def test_internals_are_marked(role):
    internals = load(role / "vars/main.yml") if (role / "vars/main.yml").exists() else {}
    assert [name for name in internals if not name.startswith(f"__{role.name}_")] == []


def test_the_readme_has_the_table_of_variables(role, options):
    assert tables_of(role / "README.md") == [table(options)]


VARIABLES = plugin(ROOT / "roles/payment/filter_plugins/payment_variables.py")
OPTIONS = VARIABLES.options_of(ROOT / "roles")
# By the type of a variable: values as YAML, JSON, INI and -e bring them.
WRONG = {
    "str": [None, ["x"], {"x": 1}],
    "path": [None, ["/x"], {"x": 1}, "x", "/x/../y", "/x y"],
    "int": [None, 2.0, 200.0, "16.0", "2e2", "many", "", True, [1], {"x": 1}],
    "bool": [None, "maybe", "", 2, ["x"], {"x": 1}],
    "list": [None, {"x": 1}],
    "dict": [None, ["x"], "x"],
}
RIGHT = {"int": [16, "16"], "bool": [True, "true", "yes", "on", "False", "no", 1]}


@pytest.mark.parametrize("name", OPTIONS)
def test_values_of_every_variable(name):
    """Another type's is refused with the name and what to write; the type's own, as text too, is taken."""
    option = OPTIONS[name]
    for value in WRONG[option["type"]]:
        problem = VARIABLES.problem_of(name, value, option)
        assert problem, value
        assert re.match(rf"{name} (is .+|has no value)\. (Write|That is) ", problem)
    for value in RIGHT.get(option["type"], []):
        assert VARIABLES.problem_of(name, value, option) is None, value


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option["type"] == "bool"])
def test_truth_that_comes_as_text(name):
    """Ansible refuses text in a condition, and Jinja takes "false" for true: only a module's parameter is converted."""
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/templates/*"), *ROOT.glob("playbooks/**/*.yml")]
    files += ROOT.glob("roles/*/vars/*.yml")
    used = [line.strip() for file in files for line in file.read_text().splitlines() if name in line.partition("# ")[0]]
    converted = re.compile(
        rf"{name}( \| default\(false\))? \| bool|'{name}', '(defined|truthy', true)|{name}: |- {name}$"
    )
    parameter = re.compile(rf'\w+: "{{{{ {name} }}}}"')
    assert [line for line in used if not converted.search(line) and not parameter.fullmatch(line)] == []

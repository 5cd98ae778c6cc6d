"""What a role promises in its argument specs is what it does by default, and what its README says."""

import pytest

from conftest import ROLES, ROOT, load
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

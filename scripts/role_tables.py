#!/usr/bin/env python3
"""Write each role's table of variables into its README, from its argument specs."""

import json
import re
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[1] / "roles"
TABLE = re.compile(r"(?<=<!-- variables -->\n).*?(?=<!-- end of variables -->)", re.DOTALL)


def table(options: dict) -> str:
    """Return the Markdown table of a role's `options`."""
    rows = ["| variable | type | default | what it is |", "|---|---|---|---|"]
    for name, option in options.items():
        kind = " or ".join(f"`{choice}`" for choice in option.get("choices", [])) or option["type"]
        default = "required" if option.get("required") else f"`{json.dumps(option['default'])}`"
        text = re.sub(r"C\((.*?)\)", r"`\1`", option["description"])
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in (f"`{name}`", kind, default, text)) + " |")
    return "\n".join(rows) + "\n"


def tables_of(readme: Path) -> list[str]:
    """Return the tables of variables that stand in a README."""
    return TABLE.findall(readme.read_text())


def main() -> None:
    for specs in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        readme = specs.parents[1] / "README.md"
        before, after = TABLE.split(readme.read_text())
        options = yaml.safe_load(specs.read_text())["argument_specs"]["main"]["options"]
        readme.write_text(before + table(options) + after)


if __name__ == "__main__":
    main()

"""docker/ names what there is: every setting, every process."""

import re
from pathlib import Path

import yaml

from app.config import Settings

PROJECT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((PROJECT / "docker" / "compose.yaml").read_text())
EXAMPLE = (PROJECT / "docker" / ".env.example").read_text()
#: What a Compose file asks for by itself: `${NAME...}`.
ASKED = re.compile(r"\$\{([A-Z_]+)")


def names_of(field, name):
    alias = field.validation_alias
    if alias is None:
        return f"OPSFARM_{name.upper()}"
    return alias if isinstance(alias, str) else alias.choices[0]


def test_the_example_names_every_setting_once():
    named = re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    settings = {names_of(field, name) for name, field in Settings.model_fields.items()}
    asked = set(ASKED.findall((PROJECT / "docker" / "compose.yaml").read_text()))
    assert sorted(named) == sorted(settings | asked)


def test_every_process_of_the_procfile_is_a_service():
    lines = (PROJECT / "Procfile").read_text().splitlines()
    processes = dict(line.split(": ", 1) for line in lines)
    services = {
        name: " ".join(COMPOSE["services"][name]["command"])
        for name in processes
        if name in COMPOSE["services"]
    }
    assert services == processes


def test_every_service_has_a_health_check():
    unchecked = {
        name for name, service in COMPOSE["services"].items() if "healthcheck" not in service
    }
    assert unchecked == {"prepare"}

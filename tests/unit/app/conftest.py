"""A small catalogue and a farm in memory, for the tests of plans."""

from dataclasses import dataclass, field

import pytest

from app.plan_reader import read_request
from app.principal import Principal, Role
from app.safety import read_policy
from app.selector import Selection
from app.step import LOCAL, Target
from app.validate import Rules, check_due, validate
from app.worker_offer import WorkerOffer
from queues import Routing
from tool_catalog.loader import Catalog, load_tool

TOOLS = {
    "df": """
summary: Free space
execution_location: automation-service
operations:
  usage:
    summary: One row per mount
    effect: read
    timeout_s: 20
    needs: {programs: [df]}
    parameters:
      path: {type: path, example: /var}
      depth: {type: integer, min: 1, max: 9, example: 2}
    argv: [df, -B1, {operands: path}]
    output: {parser: columns, fields: {mount: text, used: percent}}
    examples: [{parameters: {}}]
""",
    "systemctl": """
summary: Services
execution_location: automation-service
default: show
operations:
  show:
    summary: One unit
    effect: read
    parameters: {unit: {type: string, required: true, example: ssh.service}}
    argv: [systemctl, show, {operands: unit}]
    output: {parser: key_value, fields: {ActiveState: text, MainPID: integer}}
    examples: [{parameters: {unit: ssh.service}}]
  restart:
    summary: Stop and start
    effect: change
    repeat: never
    parameters: {unit: {type: string, required: true, aliases: [service], example: ssh.service}}
    argv: [systemctl, restart, {operands: unit}]
    examples: [{parameters: {unit: ssh.service}}]
  stop:
    summary: Stop
    effect: destroy
    repeat: idempotent
    parameters: {unit: {type: string, required: true, example: ssh.service}}
    argv: [systemctl, stop, {operands: unit}]
    examples: [{parameters: {unit: ssh.service}}]
""",
    "chmod": """
summary: Modes
execution_location: automation-service
operations:
  set:
    summary: Set a mode
    effect: change
    repeat: idempotent
    parameters:
      path: {type: path, required: true, example: /tmp/x}
      mode: {type: string, required: true, example: '0644'}
      recursive: {type: boolean, default: false}
    destroy_if: [{recursive: true}, {mode: {pattern: '[4-7][0-7]{3}'}}]
    argv: [chmod, {flag: -R, if: recursive}, '{mode}', {operands: path}]
    examples: [{parameters: {path: /tmp/x, mode: '0644'}}]
""",
    "command": """
summary: Run one program
execution_location: automation-service
operations:
  run:
    summary: Run a command line
    effect: destroy
    repeat: never
    parameters:
      argv: {type: list, of: text, required: true, example: [uptime]}
      stdin: {type: text}
    argv: [{program: argv}]
    stdin: '{stdin}'
    examples: [{parameters: {argv: [uptime]}}]
""",
    "sendmail": """
summary: Mail
execution_location: communication-service
operations:
  send:
    summary: Send a mail
    effect: change
    at: worker
    repeat: keyed
    parameters:
      to: {type: list, of: email, required: true, aliases: [recipient], example: [a@example.com]}
      subject: {type: string, example: Hello}
      body: {type: text, example: Text}
      password: {type: secret}
      attachment: {type: artifact}
      extra: {type: object, example: {a: 1}}
    rules: [{at_least_one: [subject, body]}]
    python: comms.email:send
    output: {parser: json, fields: {message_id: text}}
    examples: [{parameters: {to: [a@example.com], subject: Hello}}]
""",
    "asset-delete": """
summary: Remove an asset
execution_location: asset-service
operations:
  delete:
    summary: Remove
    effect: destroy
    at: worker
    repeat: transactional
    parameters:
      hostname: {type: hostname, required: true, example: web-01}
      confirm: {type: boolean, required: true, choices: ['true'], example: true}
    python: asset:delete
    examples: [{parameters: {hostname: web-01, confirm: true}}]
""",
    "tcpdump": """
summary: Capture
execution_location: network-analyzer-service
operations:
  capture:
    summary: Capture packets
    effect: read
    at: worker
    timeout_s: 60
    needs: {programs: [tcpdump], capabilities: [net_raw], interface: interface}
    parameters:
      interface: {type: interface, required: true, example: eth0}
      duration_s: {type: integer, default: 30}
    argv: [tcpdump, -i, '{interface}']
    run_for: duration_s
    examples: [{parameters: {interface: eth0}}]
""",
}

OPERATOR = Principal(1, "olga", Role.OPERATOR)
FLEET = ("web-01", "web-02", "db-01", *(f"node-{number}" for number in range(1, 8)))


@dataclass
class Farm:
    """Surroundings with ten assets; every question is counted."""

    secrets: set[str] = field(default_factory=lambda: {"smtp"})
    workers: list[WorkerOffer] | None = None
    asked: int = 0

    def select(self, selector):
        self.asked += 1
        found = [LOCAL] if "local" in selector.names else []
        known = {name: asset(name) for name in FLEET}
        found += [known[name] for name in selector.names if name in known]
        by_id = {str(target.asset_id): target for target in known.values()}
        found += [by_id[name] for name in selector.names if name in by_id]
        unknown = [n for n in selector.names if n not in {*known, *by_id, "local", "web-03"}]
        left_out = ("web-03 (maintenance)",) if "web-03" in selector.names else ()
        if selector.where.get("tags.role") == ("web",):
            found += [known["web-01"], known["web-02"]]
            left_out = ("web-03 (maintenance)",)
        if selector.where.get("tags.role") == ("node",):
            found += [target for name, target in known.items() if name.startswith("node")]
        return Selection(tuple(found), left_out, tuple(unknown))

    def offers(self):
        return self.workers

    def secret_names(self):
        return self.secrets

    def logins(self, asset_ids):
        return {}


def asset(name):
    return Target(name, FLEET.index(name) + 1, f"{name}.example.com", "ssh")


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    tools = {}
    for name, text in TOOLS.items():
        (folder / f"{name}.yaml").write_text(text)
        tools[name] = load_tool(folder / f"{name}.yaml")
    return Catalog(tools)


@pytest.fixture
def farm():
    return Farm()


@pytest.fixture
def rules():
    return Rules(read_policy(), Routing(), 3600)


@pytest.fixture
def check(catalog, farm, rules):
    """`check(text)`: a plan's text, read and validated."""

    def run(text):
        body = text.encode() if isinstance(text, str) else text
        return validate(read_request(body).plan, catalog, farm, rules)

    return run


@pytest.fixture
def serve(catalog, farm, rules):
    """`serve(template, steps, principal)`: what takes the place of a due row."""

    def run(template, steps=None, principal=OPERATOR):
        execution = {"id": "e-1", "state": "running", "name": "n"}
        context = {"steps": steps or {}, "execution": execution}
        return check_due(template, context, catalog, farm, rules, principal=principal)

    return run


@pytest.fixture
def due(check, serve):
    """`due(text, steps, principal)`: the last step of a plan when it becomes due."""

    def run(text, steps=None, principal=OPERATOR):
        outcome = serve(check(text).steps[-1].template, steps, principal)
        alone = isinstance(outcome, tuple) and len(outcome) == 1
        return outcome[0] if alone else outcome

    return run

"""One key, one execution: several processes submit at once, as several API servers would."""

import json
import os
import subprocess
import sys

import pytest

from tests.lab.farm import PROJECT, Farm

PROCESSES = 4
SUBMITS = 10
PLAN = {"steps": [{"tool": "script", "parameters": {"script": "true"}, "targets": "local"}]}
OTHER = {"steps": [*PLAN["steps"], {**PLAN["steps"][0], "id": "more"}]}

#: Says that it is ready, waits for a line, submits each plan that it was given, tells what came.
SUBMITTER = """
import json, sys
from app.config import read_settings
from app.errors import Conflict
from app.parts import build_parts
from app.plan_reader import read_plan
from app.principal import Principal, Role
from app.submit import submit

parts = build_parts(read_settings())
principal = Principal(int(sys.argv[1]), "ops", Role.OPERATOR)
plans = [(key, read_plan(document)) for key, document in json.loads(sys.argv[2])]
print("ready", flush=True)
sys.stdin.readline()
told = []
for key, plan in plans:
    try:
        accepted = submit(plan, principal, parts, key=key)
        told.append([key, str(accepted.execution_id), accepted.created])
    except Conflict as conflict:
        told.append([key, "conflict", str(conflict)])
print(json.dumps(told), flush=True)
parts.close()
"""


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path)
    yield farm
    farm.close()


def submit_at_once(farm, *documents):
    """What each process was told of each of its submits: (key, execution or "conflict", more)."""
    environment = {**os.environ, **farm.environment, "PYTHONPATH": str(PROJECT)}
    environment |= {"OPSFARM_DATABASE_URL": farm.settings.database_url}
    processes = []
    for number in range(PROCESSES):
        plans = [(f"key-{n}", documents[number % len(documents)]) for n in range(SUBMITS)]
        argv = [sys.executable, "-c", SUBMITTER, str(farm.principal.id), json.dumps(plans)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(argv, env=environment, **pipes))
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [tuple(line) for p in processes for line in json.loads(p.communicate(timeout=60)[0])]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return told


def count(farm, table):
    return farm.parts.records._read(f"select count(*) as n from {table}")[0]["n"]  # a name of ours


def test_the_same_plan_under_one_key_is_one_execution_for_all(farm):
    told = submit_at_once(farm, PLAN)
    for number in range(SUBMITS):
        of_key = [(where, created) for key, where, created in told if key == f"key-{number}"]
        assert len({where for where, _ in of_key}) == 1
        assert sorted(created for _, created in of_key) == [False] * (PROCESSES - 1) + [True]
    assert count(farm, "executions") == count(farm, "steps") == SUBMITS
    assert farm.depth() == SUBMITS, "each was published once"


def test_another_plan_under_a_key_is_a_conflict_that_names_the_first(farm):
    told = submit_at_once(farm, PLAN, OTHER)
    for number in range(SUBMITS):
        of_key = [(where, more) for key, where, more in told if key == f"key-{number}"]
        accepted = {where for where, _ in of_key if where != "conflict"}
        refused = [more for where, more in of_key if where == "conflict"]
        assert len(accepted) == 1, "the first plan won for all who sent it"
        assert len(refused) == PROCESSES // 2
        assert all(next(iter(accepted)) in more for more in refused)
    assert count(farm, "executions") == SUBMITS

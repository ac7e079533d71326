"""Watchers who go away while events come: the API's log stays clean."""

import logging

import requests

from app.farm_execution import read_event_stream
from app.principal import Role

DF = {"steps": [{"tool": "df", "parameters": {"path": "/"}, "targets": "local"}]}


def test_watchers_that_leave_make_no_noise(api_farm, caplog):
    execution = api_farm.client().submit(DF)
    step = api_farm.claim(execution.id)
    for number in range(50):
        api_farm.say(step, f"line {number}")
    headers = {"Authorization": f"Bearer {api_farm.keys[Role.VIEWER]}"}
    url = f"{api_farm.url}/executions/{execution.id}/events"
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            with requests.get(url, headers=headers, stream=True, timeout=10) as stream:
                assert next(read_event_stream(stream.iter_lines()))
        api_farm.finish(step)
        with requests.get(url, headers=headers, timeout=10) as stream:
            assert "execution.finished" in stream.text
    assert [record.getMessage() for record in caplog.records] == []

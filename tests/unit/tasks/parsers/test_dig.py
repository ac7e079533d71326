"""Answers of dig as objects."""

import pytest

from tasks.parsers.base import ParseError
from tasks.parsers.dig import parse_dig
from tool_catalog.model import Output

HEAD = """\
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1
;; flags: qr rd ra; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1

;; QUESTION SECTION:
;lab.example.\t\t\tIN\tTXT
"""


def read(text):
    return parse_dig(text, Output())


def test_a_value_keeps_its_blanks_and_quotes():
    value = '"a  b" "c\\;"'
    output = read(
        f"{HEAD}\n;; ANSWER SECTION:\nlab.example.\t60\tIN\tTXT\t{value}\n\n;; SERVER: ::1#53(::1)"
    )
    assert output["values"] == [value]
    assert (output["authoritative"], output["server"], output["query_ms"]) == (
        False,
        "::1#53",
        None,
    )


def test_no_record_is_an_empty_list():
    output = read(HEAD)
    assert (output["status"], output["values"], output["answers"]) == ("NOERROR", [], [])


@pytest.mark.parametrize(
    "text", ["", "hello\n", f"{HEAD}\n;; ANSWER SECTION:\nlab.example. IN TXT x\n"]
)
def test_what_is_no_answer(text):
    with pytest.raises(ParseError):
        read(text)

"""Which expressions may take forever; `re` itself shows that those do, and the others do not."""

import re
import time

import pytest

from tool_catalog.bad_key import BadKey
from tool_catalog.pattern_checks import check_pattern, may_take_forever

#: An expression, what it takes again and again, and what makes it fail at the end.
ENDLESS = [
    ("(a+)+b", "a"),
    ("(a*)*b", "a"),
    (r"(\w+\s?)+!", "a"),
    ("([a-z]+)*!", "a"),
    ("(.*,)*x", ","),
    ("(x+x+)+y", "x"),
    ("(a|a)*c", "a"),
    ("(ab|a(?:b))*c", "ab"),
    ("((a*)?b)+c", "b"),
    (r"(?:\d+|[0-9])+x", "1"),
    ("(ab|a|b)*c", "ab"),
    (r"([a-zA-Z0-9._-]+\.?)+@", "a."),
    ("((a+){2})+b", "a"),
    ("(?i)(?:a+|A+)+b", "aA"),
    ("(?s)(?:.|\\n)*x", "\n"),
    (r"(?:[^:]+|\S)+;", "a"),
]
SAFE = [
    ("(a+b)+c", "ab"),
    ("[a-z]+(?:-[a-z]+)*!", "a-"),
    (r'(?:[^"\\]|\\.)*"', "a\\\\"),
    ("[ugoa]*([-+=][rwxXst]*)+(,[ugoa]*([-+=][rwxXst]*)+)*", "a+r,"),
    ("[a-z]{2,4}(-[a-z]+)+-[0-9]+", "aa-"),
    ("(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", "0a:"),
    (r"(?:\d{1,3}\.){3}\d{1,3}", "1."),
    ("(?:[0-9a-f]{4}){4}", "a"),
    ("(a|b)*c", "ab"),
    ("(?:a?|b?)+c", "ab"),
    (r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*x", "aa."),
    (r"(?:(?!x)[a-z])*\Z", "a"),
    (r"(?>a+)b|(c++d)*|(?P<q>e)(?P=q)*|^(?:f$)?", "ac"),
    ("(.*,)?x", ","),
]


@pytest.mark.parametrize(("pattern", "again"), ENDLESS)
def test_what_may_take_forever(pattern, again):
    assert may_take_forever(pattern)
    short, long = (_time(pattern, again, characters) for characters in (10, 16))
    assert long > 4 * short  # at least 2 ** 3 times the ways; for their square it would be 2.56


@pytest.mark.parametrize(("pattern", "again"), SAFE)
def test_what_does_not(pattern, again):
    assert not may_take_forever(pattern)
    assert _time(pattern, again, 500) < 1


def test_what_does_not_compile_is_no_pattern():
    with pytest.raises(BadKey, match="is no regular expression: unterminated character set"):
        check_pattern("[a", "here")


def _time(pattern, again, characters):
    compiled, text = re.compile(pattern), (again * characters)[:characters] + "\x00"
    return min(_time_once(compiled, text) for _ in range(3))


def _time_once(compiled, text):
    began = time.process_time()
    compiled.fullmatch(text)
    return time.process_time() - began

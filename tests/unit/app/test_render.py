import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ExpressionError
from app.render import (
    evaluate_condition,
    find_expressions,
    has_expression,
    inspect_condition,
    inspect_template,
    is_single_expression,
    render_value,
)

CONTEXT = {
    "steps": {
        "disk": {
            "ok": False,
            "summary": "2 file systems",
            "output": [{"mount": "/", "used": 91}, {"mount": "/var", "used": 12}],
            "results": [{"target": "web-01", "state": "failed"}],
            "failed_targets": ["web-01"],
        },
        "scan": {"output": {"items": [1, 2], "n": 5, "big": "x" * 100_000, "none": None}},
    },
    "execution": {"id": "e-1", "state": "failed", "name": "nightly"},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ steps.disk.failed_targets }}", ["web-01"]),
        ("{{ steps.scan.output.n }}", 5),
        ("{{ steps.scan.output.n + 1 }}", 6),
        ("{{ steps.scan.output.none }}", None),
        ("{{ not steps.disk.ok }}", True),
        ("{{- steps.disk.ok -}}", False),
        ("{{ steps.scan.output.items }}", [1, 2]),
        ("{{ steps['scan'].output['items'][0] }}", 1),
        ("{{ steps.disk.output | map(attribute='mount') }}", ["/", "/var"]),
        ("{{ steps.disk.output | selectattr('used', 'gt', 90) | map(attribute='mount') }}", ["/"]),
        ("{{ {'a': [1, (2, 3)]} }}", {"a": [1, [2, 3]]}),
        ("{{ 'full' if steps.disk.output[0].used > 90 else 'fine' }}", "full"),
        ("{{ steps.scan.output.missing | default('none') }}", "none"),
        ("{{ steps.disk.summary.split(' ') }}", ["2", "file", "systems"]),
        (" {{ steps.scan.output.n }}", " 5"),
        ("{{ steps.scan.output.n }}\n", "5\n"),
        ("{{ steps.disk.ok }} {{ steps.disk.failed_targets }}", 'false ["web-01"]'),
        ("{{ steps.scan.output.none }}!", "null!"),
        (
            "{% for r in steps.disk.results %}{{ loop.index }}:{{ r.target }}{% endfor %}",
            "1:web-01",
        ),
        ("{% if steps.disk.ok %}fine{% else %}bad{% endif %}", "bad"),
        ("{{ range(3) | list }}", [0, 1, 2]),
        ("{{ 7 % 4 * 2.5 }}", 7.5),
        ("a <b> & 'c'", "a <b> & 'c'"),
        ("{{ '<b>' | tojson }}", '"<b>"'),
    ],
)
def test_rendering(template, value):
    assert render_value(template, CONTEXT) == value


def test_values_are_rendered_wherever_they_stand():
    given_ = {"a": ["{{ execution.id }}", 3], "b": {"c": "id: {{ execution.id }}"}, "d": None}
    assert render_value(given_, CONTEXT) == {"a": ["e-1", 3], "b": {"c": "id: e-1"}, "d": None}


def test_references_and_literals_are_not_rendered():
    given_ = {
        "a": {"$literal": "{{ x }}"},
        "b": {"$secret": "smtp"},
        "c": {"$artifact": "{{ execution.id }}"},
    }
    assert render_value(given_, CONTEXT) == {
        "a": "{{ x }}",
        "b": {"$secret": "smtp"},
        "c": {"$artifact": "e-1"},
    }
    assert list(find_expressions(given_)) == [("c.$artifact", "{{ execution.id }}")]


def test_nothing_is_parsed_twice():
    context = {"steps": {"a": {"summary": "{{ execution.id }}"}}, "execution": {"id": "e-1"}}
    assert render_value("{{ steps.a.summary }}", context) == "{{ execution.id }}"
    assert render_value("x {{ steps.a.summary }}", context) == "x {{ execution.id }}"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("steps.disk.ok", False),
        ("not steps.disk.ok and execution.state == 'failed'", True),
        ("steps.disk.output | selectattr('used', 'gt', 90) | list", True),
        ("'web-01' in steps.disk.failed_targets", True),
        ("false", False),
    ],
)
def test_conditions(condition, holds):
    assert evaluate_condition(condition, CONTEXT) is holds


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ steps.disk.output | map(attribute='__class__') }}",
    "{{ steps.disk.output | selectattr('a.__class__') }}",
    "{{ (1).__class__ }}",
    "{{ steps.disk._x }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler }}",
    "{{ cycler.__init__ }}",
    "{{ lipsum() }}",
    "{{ joiner('x') }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ config }}",
    "{{ request }}",
    "{{ environment }}",
    "{{ range.__self__ }}",
    "{{ range }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{a}'.format_map(steps) }}",
    "{{ 'x'.encode() }}",
    "{{ 'x'.ljust(9) }}",
    "{{ 'x'|format(1) }}",
    "{{ 'x'|center(9) }}",
    "{{ 'x'|indent(9) }}",
    "{{ steps.pop('disk') }}",
    "{{ steps.disk.output.append(1) }}",
    "{{ steps.disk.update({}) }}",
    "{% set x = steps %}{{ x }}",
    "{% macro m() %}{% endmacro %}",
    "{% include 'a' %}",
    "{% import 'a' as b %}",
    "{% extends 'a' %}",
    "{% block a %}{% endblock %}",
    "{% filter upper %}x{% endfilter %}",
    "{% call x() %}{% endcall %}",
    "{% with a = 1 %}{% endwith %}",
    "{% for a in steps recursive %}{% endfor %}",
    "{% for a in [1] %}{% for b in [1] %}{% for c in [1] %}{% endfor %}{% endfor %}{% endfor %}",
    "{{ loop }}",
    "{{ 2 ** 99 }}",
    "{{ range(*[1, 2]) }}",
    "{{ undefined_name }}",
    "{{ '(charge)' | nosuchfilter }}",
    "{{ 1 is nosuchtest }}",
    "{{ " + "(" * 1500 + "1" + ")" * 1500 + " }}",
    "{{ " + "not " * 800 + "1 }}",
    "{{ steps" + ".a" * 900 + " }}",
    "{{ " + "1+" * 900 + "1 }}",
    "{% if 1 %}" * 150 + "{% endif %}" * 150,
    "{{ steps.disk",
    "{# never closed",
    "{{ }}",
    "{{ '" + "x" * 5000 + "' }}",
]


@pytest.mark.parametrize("template", ESCAPES, ids=lambda text: text[:40])
def test_what_an_expression_may_not_do_is_refused_before_it_runs(template):
    with pytest.raises(ExpressionError) as caught:
        inspect_template(template)
    assert len(str(caught.value)) < 300
    with pytest.raises(ExpressionError):
        render_value(template, CONTEXT)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ range(1000000000) }}",
        "{{ range(9999) | join(steps.scan.output.big) }}",
        "{{ steps.scan.output.big | replace('', steps.scan.output.big) }}",
        "{{ steps.scan.output.big + steps.scan.output.big + steps.scan.output.big }}",
        "{{ steps.scan.output.big ~ steps.scan.output.big ~ steps.scan.output.big }}",
        "{{ [steps.scan.output.big, steps.scan.output.big, steps.scan.output.big] }}",
        "{{ steps.scan.output.big }}{{ steps.scan.output.big }}{{ steps.scan.output.big }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{{ steps.scan.output.big | upper | length }}{% endfor %}",
        "{% for a in range(9999) %}{% if 'y' in steps.scan.output.big %}{% endif %}{% endfor %}",
        "{% for a in range(9999) %}{{ steps.scan.output.big.count('y') }}{% endfor %}",
        "{{ range(9999) | select('in', range(9999) | list) | list }}",
        "{{ [[1], [2]] | sum(start=[]) }}",
        "{{ 10 ** 10 }}",
        "{{ " + " * ".join(["9999999999999999999"] * 30) + " }}",
        "{{ 1 / 0 }}",
        "{{ 1e308 * 10 }}",
        "{{ steps.disk.nosuch }}",
        "{{ steps.nosuch.ok }}",
        "x {{ steps.disk.nosuch }}",
        "{{ steps.disk.output.get }}",
        "{{ steps.scan.get }}",
        "{{ steps.scan.output.n.items() }}",
        "{{ 'a' + 1 }}",
        "{{ 'x' | int('y') | round('z') }}",
        "{{ {'$secret': 'smtp'} }}",
        "{{ [{'a': {'$artifact': 'x'}}] }}",
    ],
    ids=lambda text: text[:60],
)  # fmt: skip
def test_what_goes_wrong_in_an_expression_ends_soon_and_says_why(template):
    start = time.process_time()
    with pytest.raises(ExpressionError) as caught:
        render_value(template, CONTEXT)
    assert time.process_time() - start < 2
    assert len(str(caught.value)) < 400


def test_all_parameters_together_have_a_limit():
    with pytest.raises(ExpressionError, match="256 KiB"):
        render_value(["{{ steps.scan.output.big }}"] * 3, CONTEXT)


@pytest.mark.parametrize(
    ("template", "references"),
    [
        ("{{ steps.disk.ok }}", ["steps.disk.ok"]),
        ("{{ steps['disk']['ok'] }}", ["steps.disk.ok"]),
        ("{{ steps.a.results[0].output.x }} {{ execution.id }}",
         ["steps.a.results[0].output.x", "execution.id"]),
        ("{{ steps.a.output[steps.b.output] }}", ["steps.b.output", "steps.a.output[0]"]),
        ("{{ steps.a.summary.split(steps.b.summary) }}", ["steps.a.summary", "steps.b.summary"]),
        ("{% for steps in steps.a.results %}{{ steps.anything }}{% endfor %}", ["steps.a.results"]),
        ("{{ steps.a.x is defined }}", ["steps.a.x"]),
    ],
)  # fmt: skip
def test_references_are_found(template, references):
    assert [str(reference) for reference in inspect_template(template)] == references


def test_a_condition_ends_where_it_ends():
    for text in ("steps.a.ok }} x", "steps.a.ok steps.b.ok", "{{ steps.a.ok }}", ""):
        with pytest.raises(ExpressionError):
            inspect_condition(text)


def test_single_expressions():
    assert is_single_expression("{{ execution.id }}")
    assert not is_single_expression("{{ execution.id }}{{ execution.id }}")
    assert not is_single_expression("x{{ execution.id }}")


@given(st.text(alphabet="{}%#()[]|.'\"_ abcdefghij*+-~0123456789", max_size=60))
def test_any_text_renders_or_is_refused(text):
    for template in (text, "{{ " + text + " }}", "{% " + text + " %}"):
        try:
            value = render_value(template, CONTEXT)
        except ExpressionError:
            continue
        assert has_expression(template) or value == template

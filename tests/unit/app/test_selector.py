import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.selector import Selector, SelectorError, parse_selector

names = st.one_of(
    st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z]", fullmatch=True),
    st.integers(1, 2**31 - 1).map(str),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
texts = st.one_of(
    st.text(string.printable, min_size=1, max_size=20), st.text(min_size=1, max_size=20)
).filter(str.isprintable)
keys = st.sampled_from(["environment", "os", "tags.role", "tags.a.b:c/d-e"])
conditions = st.dictionaries(keys, st.lists(texts, min_size=1, max_size=3), min_size=1)
networks = st.ip_addresses(v=4).map(lambda address: f"{address}/32")
wheres = st.one_of(
    conditions,
    st.builds(lambda a, b: a | {"ip_address": b}, conditions, st.lists(networks, min_size=1)),
)
exclusions = st.lists(st.one_of(names, wheres), max_size=3).map(
    lambda parts: {"not": parts} if parts else {}
)
parts = st.one_of(
    st.builds(lambda where, left_out: where | left_out, wheres, exclusions),
    st.builds(
        lambda named, left_out: {"names": named} | left_out,
        st.lists(names, min_size=1, max_size=3),
        exclusions,
    ),
)
selectors = st.one_of(parts, st.lists(st.one_of(parts, names), min_size=1, max_size=4))


@given(selectors)
def test_text_and_mapping_read_back_to_an_equal_selector(written):
    selector = parse_selector(written)
    assert parse_selector(str(selector)) == selector
    assert parse_selector(selector.as_mapping()) == selector


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_raises_nothing_else(text):
    with contextlib.suppress(SelectorError):
        selector = parse_selector(text)
        assert str(selector)
        assert parse_selector(str(selector)) == selector


def test_the_text_and_the_mapping_of_the_plan_format_mean_the_same():
    text = parse_selector("environment=production,tags.role=web,!web-03")
    mapping = {"environment": "production", "tags": {"role": "web"}, "not": {"hostname": "web-03"}}
    assert parse_selector(mapping) == text
    assert text == Selector(
        where={"environment": ("production",), "tags.role": ("web",)},
        exclude=(Selector(names=("web-03",)),),
    )


@pytest.mark.parametrize(
    ("given_", "selected"),
    [
        ("web-01", ("web-01",)),
        ("WEB-01.example.COM.", ("web-01.example.com",)),
        (7, ("7",)),
        ("007", ("7",)),
        ("::0:1", ("::1",)),
        (["web-01", 7, "web-01"], ("web-01", "7")),
        ({"hostname": ["a", "b"]}, ("a", "b")),
        ({"id": 7}, ("7",)),
        ({"id": 7, "hostname": "web-01", "ip_address": None, "created_at": "x"}, ("7",)),
        ([{"id": 7, "hostname": "web-01"}, "local"], ("7", "local")),
        ([], ()),
    ],
)
def test_names_ids_addresses_and_asset_objects_serve(given_, selected):
    assert parse_selector(given_) == Selector(names=selected)


def test_alternatives_and_quoted_values():
    selector = parse_selector(
        'environment=staging | production, os="Debian (12), x|y",!(type=vm,os=a)'
    )
    assert selector.where == {
        "environment": ("staging", "production"),
        "os": ("Debian (12), x|y",),
    }
    assert selector.exclude == (Selector(where={"type": ("vm",), "os": ("a",)}),)


def test_truth_and_numbers_in_tags_are_texts():
    assert parse_selector({"tags": {"dmz": True, "rack": 3}}).where == {
        "tags.dmz": ("true",),
        "tags.rack": ("3",),
    }


def test_a_list_joins_names_and_conditions_and_leaves_out_for_all():
    selector = parse_selector(["db-01", {"environment": "staging"}, "!db-02"])
    assert selector == Selector(
        names=("db-01",),
        exclude=(Selector(names=("db-02",)),),
        any_of=(Selector(where={"environment": ("staging",)}),),
    )


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ("", "empty term"),
        ({}, "empty selector"),
        (None, "selects no asset"),
        (True, "selects no asset"),
        (1.5, "selects no asset"),
        (0, "no asset id"),
        ("99999999999", "no asset id"),
        ("!web-03", "only leaves assets out"),
        ("web-01,", "empty term"),
        ("-rf", "not a host name"),
        ("10.0.0.0/24", "write ip_address=10.0.0.0/24"),
        ("ip=10.0.0.1/24", "host bits"),
        ("enviroment=x", "did you mean environment"),
        ("tags. =x", "no field"),
        ("status=activ", "one of active, maintenance, retired"),
        ("web-01,environment=x", "both must hold, or either"),
        ("environment=a,environment=b", "given twice"),
        ("environment=", "cannot read the condition"),
        ("environment=a=b", "cannot read the condition"),
        ("not=a", "no field in a text"),
        ('os="\\q"', "not quoted as JSON"),
        ('os="open', "cannot read"),
        ("!(a", "cannot read"),
        ({"tags": {}}, "tags is a mapping"),
        ({"tags": "web"}, "tags is a mapping"),
        ({"environment": []}, "no value to fit"),
        ({"environment": None}, "printable"),
        ({"environment": "a\nb"}, "printable"),
        ({"environment": "a\x00"}, "printable"),
        ({"environment": "x" * 256}, "1 to 255"),
        ({"environment": "x", "not": {"os": "a", "not": "b"}}, "'not' within 'not'"),
        ([[["a", {"os": "x"}, "!b"]], "c"], "outer list"),
        ([[[[[[[["a"]]]]]]]], "nested deeper"),
        (["a"] * 1001, "at most 1000"),
        ("a," * 5000, "at most 8192"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(given_, words):
    with pytest.raises(SelectorError, match=words.replace("(", "\\(")):
        parse_selector(given_)

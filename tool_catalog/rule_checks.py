"""What the rules of an operation must keep: each says something, and together they can be met."""

from collections.abc import Iterator, Mapping

from tool_catalog.bad_key import BadKey
from tool_catalog.model import Operation, Rule


def check_rules(operation: Operation, place: str) -> None:
    """Raises BadKey for a rule that says nothing, and for a parameter that no call may give."""
    for number, rule in enumerate(operation.rules):
        _check_rule(rule, f"{place}.rules[{number}]")
    needs = _needs(operation)
    for name in needs:
        together = {name, *_closure(name, needs)}
        for number, names in _choices(operation):
            both = [each for each in names if each in together]
            if len(both) > 1:
                why = f"{name!r} can never be given: it needs {_join(together - {name})} beside it"
                words = f"{why}, and this rule allows one of {_join(both)} only"
                raise BadKey(f"{place}.rules[{number}]", words)


def _check_rule(rule: Rule, place: str) -> None:
    for key in ("exactly_one", "at_least_one", "at_most_one"):
        names = getattr(rule, key)
        if len(set(names)) != len(names) or len(names) == 1:
            raise BadKey(f"{place}.{key}", "needs two or more names, each of them once")
    for name, needed in rule.requires.items():
        if not needed or name in needed:
            raise BadKey(f"{place}.requires.{name}", "needs the names of other parameters")
    if not any((rule.exactly_one, rule.at_least_one, rule.at_most_one, rule.requires)):
        kinds = ", ".join(Rule.model_fields)
        raise BadKey(place, f"says nothing; a rule is one of {kinds}")


def _needs(operation: Operation) -> dict[str, set[str]]:
    """Each parameter that needs others to the ones that it names itself."""
    needs: dict[str, set[str]] = {}
    for rule in operation.rules:
        for name, needed in rule.requires.items():
            needs.setdefault(name, set()).update(needed)
    return needs


def _closure(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """All that must be given with a parameter, also by what it needs; cycles are fine."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = needs.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


def _choices(operation: Operation) -> Iterator[tuple[int, tuple[str, ...]]]:
    for number, rule in enumerate(operation.rules):
        yield number, rule.exactly_one
        yield number, rule.at_most_one


def _join(names: set[str] | list[str]) -> str:
    return " and ".join(sorted(names))

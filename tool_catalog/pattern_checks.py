"""Regular expressions that may take forever, found before anything is matched (pure).

Python's `re` tries every way in which repeats can share a text. Where a repeat inside another one
can take the same characters in two ways, as in `(a+)+`, there are 2**n ways to try for n of them.
Such an expression is known by its automaton: two different ways from a place back to itself that
read the same text (Weideman et al., "Analyzing Matching Time Behavior of Backtracking Regular
Expression Matchers by Using Ambiguity of NFA", CIAA 2016).
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from re import _constants as words  # type: ignore[attr-defined]  # its parser is not typed
from re import _parser as parser  # type: ignore[attr-defined]  # and re's own reading alone is right
from typing import Any, TypeVar

from tool_catalog.bad_key import BadKey

Node = TypeVar("Node", bound=Hashable)

#: Only a repeated group can hold a repeat.
_REPEATED_GROUP = re.compile(r"\)[*+{]")
#: What characters stand for: ASCII, and one letter, digit, space and sign beyond it.
_ALPHABET = frozenset(map(chr, range(128))) | frozenset("é٣\u2003\u2190")
#: A repeat of exactly so many rounds is written out; more count as any number.
_WRITTEN_OUT = 8
_CATEGORIES: Mapping[Any, Callable[[str], bool]] = {
    words.CATEGORY_DIGIT: str.isdecimal,
    words.CATEGORY_NOT_DIGIT: lambda sign: not sign.isdecimal(),
    words.CATEGORY_SPACE: str.isspace,
    words.CATEGORY_NOT_SPACE: lambda sign: not sign.isspace(),
    words.CATEGORY_WORD: lambda sign: sign.isalnum() or sign == "_",
    words.CATEGORY_NOT_WORD: lambda sign: not (sign.isalnum() or sign == "_"),
}


def check_pattern(pattern: str | None, place: str) -> None:
    """Raises BadKey for what is no regular expression, or one that may take forever."""
    try:
        endless = may_take_forever(pattern or "")
    except re.error as error:
        raise BadKey(place, f"is no regular expression: {error}") from None
    if endless:
        raise BadKey(
            place,
            "may take forever: what is repeated can take the same text in several ways, as in "
            "(a+)+; let each round begin with a character that nothing else in it takes",
        )


@cache
def may_take_forever(pattern: str) -> bool:
    """Whether the time of a match can double with each character; raises re.error."""
    re.compile(pattern)
    if not _REPEATED_GROUP.search(pattern):
        return False
    parsed = parser.parse(pattern)
    automaton = _Automaton(parsed.state.flags)
    automaton.read(parsed)
    return automaton.is_ambiguous()


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an expression: the places where it may begin and end.

    A place stands there once for each way to it.
    """

    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    #: In how many ways it can be empty; more than two count as two.
    empty: int = 1


@dataclass
class _Automaton:
    """A place for each character that an expression names, and what may follow it (Glushkov)."""

    flags: int
    signs: list[frozenset[str]] = field(default_factory=list)
    #: (place, next place) to in how many ways one follows the other.
    steps: Counter[tuple[int, int]] = field(default_factory=Counter)

    def read(self, items: Iterable[Any]) -> _Part:
        """Take in a sequence."""
        whole = _Part()
        for item in items:
            whole = self._join(whole, self._read_item(*item))
        return whole

    def _read_item(self, word: Any, value: Any) -> _Part:  # noqa: ANN401  # what re's parser gives
        if word in {words.MAX_REPEAT, words.MIN_REPEAT, words.POSSESSIVE_REPEAT}:
            return self._repeat(*value)
        if word is words.BRANCH:
            return _either([self.read(branch) for branch in value[1]])
        if word is words.SUBPATTERN:
            return self.read(value[3])
        if word is words.ATOMIC_GROUP:
            return self.read(value)
        if word in {words.LITERAL, words.NOT_LITERAL, words.IN, words.ANY}:
            return self._place(self._signs_of(word, value))
        return _Part()  # an anchor, a look around, a group again: no characters of its own

    def _place(self, signs: frozenset[str]) -> _Part:
        self.signs.append(signs)
        here = (len(self.signs) - 1,)
        return _Part(here, here, empty=0)

    def _join(self, left: _Part, right: _Part) -> _Part:
        self._connect(left.last, right.first)
        return _Part(
            left.first + right.first * left.empty,
            right.last + left.last * right.empty,
            min(left.empty * right.empty, 2),
        )

    def _connect(self, ends: Iterable[int], beginnings: tuple[int, ...]) -> None:
        self.steps.update((end, beginning) for end in ends for beginning in beginnings)

    def _repeat(self, least: int, most: int, body: Any) -> _Part:  # noqa: ANN401  # what re's parser gives
        if least == most <= _WRITTEN_OUT:
            return self.read(item for _ in range(most) for item in body)
        part = self.read(body)
        if most > 1:
            self._connect(part.last, part.first)
        return _Part(part.first, part.last, min(part.empty + (least == 0), 2))

    def _signs_of(self, word: Any, value: Any) -> frozenset[str]:  # noqa: ANN401  # what re's parser gives
        if word is words.ANY:
            return _ALPHABET if self.flags & re.DOTALL else _ALPHABET - {"\n"}
        if word is words.IN:
            return self._in_set(value)
        literal = self._cases(chr(value))
        return literal if word is words.LITERAL else _ALPHABET - literal

    def _in_set(self, members: list[Any]) -> frozenset[str]:
        found: set[str] = set()
        for word, value in members:
            if word is words.LITERAL:
                found |= self._cases(chr(value))
            elif word is words.RANGE:
                low, high = value
                found |= {sign for sign in _ALPHABET if low <= ord(sign) <= high}
            elif word is words.CATEGORY:
                found |= set(filter(_CATEGORIES[value], _ALPHABET))
        if self.flags & re.IGNORECASE:
            found |= {sign.swapcase() for sign in found}
        negated = bool(members) and members[0][0] is words.NEGATE
        return _ALPHABET - found if negated else frozenset(found)

    def _cases(self, sign: str) -> frozenset[str]:
        return frozenset((sign, sign.swapcase()) if self.flags & re.IGNORECASE else sign)

    def is_ambiguous(self) -> bool:
        """Whether two different ways lead from a place back to itself over the same text."""
        after: dict[int, list[int]] = {}
        before: dict[int, list[int]] = {}
        for place, following in self.steps:
            after.setdefault(place, []).append(following)
            before.setdefault(following, []).append(place)
        if any(
            count > 1 and place in _reachable(following, lambda here: after.get(here, ()))
            for (place, following), count in self.steps.items()
        ):
            return True
        return any(self._splits(place, after, before) for place in after)

    def _splits(
        self, place: int, after: Mapping[int, list[int]], before: Mapping[int, list[int]]
    ) -> bool:
        """Whether two ways that part at `place` come together there again."""

        def forth(pair: tuple[int, int]) -> Iterator[tuple[int, int]]:
            left, right = (after.get(each, ()) for each in pair)
            return (both for both in product(left, right) if self._share(both))

        def back(pair: tuple[int, int]) -> Iterator[tuple[int, int]]:
            left, right = (before.get(each, ()) for each in pair)
            return product(left, right) if self._share(pair) else iter(())

        start: tuple[int, int] = (place, place)
        forward, backward = _reachable(start, forth), _reachable(start, back)
        return any(left != right for left, right in forward & backward)

    def _share(self, pair: tuple[int, int]) -> bool:
        return not self.signs[pair[0]].isdisjoint(self.signs[pair[1]])


def _either(parts: list[_Part]) -> _Part:
    return _Part(
        tuple(place for part in parts for place in part.first),
        tuple(place for part in parts for place in part.last),
        min(sum(part.empty for part in parts), 2),
    )


def _reachable(start: Node, following: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """What can be come to from `start`, itself included."""
    found, waiting = {start}, [start]
    while waiting:
        new = set(following(waiting.pop())) - found
        found |= new
        waiting.extend(new)
    return found

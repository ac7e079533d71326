"""What every parser shares."""


class ParseError(Exception):
    """Output that is not what its tool file says; the text ends in the line at fault."""


#: How much of a line an error shows.
SHOWN_CHARACTERS = 120


def cut(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    """The beginning of a text on one line, with an ellipsis where something was cut."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[:characters] + "…"


def cannot_read(line: str, number: int, what: str) -> ParseError:
    """The error of a line (1-based)."""
    return ParseError(f"line {number} is not {what}: {cut(line)}")

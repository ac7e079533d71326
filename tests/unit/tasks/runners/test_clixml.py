"""CLIXML as lines, however it is cut into pieces."""

import pytest

from tasks.runners.clixml import ErrorText

OBJS = b'<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
PROGRESS = (
    b'<Obj S="progress" RefId="0"><TN RefId="0"><T>System.Object</T></TN><MS>'
    b'<Obj N="Inner"><I64 N="SourceId">1</I64></Obj><AV>Preparing modules.</AV></MS></Obj>'
)
CASES = {
    b"plain\r\nno newline at the end": b"plain\r\nno newline at the end",
    b"": b"",
    b"a #< b\nfive < six\n": b"a #< b\nfive < six\n",
    b'#< CLIXML\r\n%s<S S="Error">bad &lt;x&gt;_x000D__x000A_</S></Objs>' % OBJS: b"bad <x>\n",
    b"before\r\n#< CLIXML\r\n%s%s</Objs>after\r\n" % (OBJS, PROGRESS): b"before\r\nafter\r\n",
    b'#< CLIXML\r\n%s<S S="warning">slow</S>raw <here>\r\n</Objs>' % OBJS: (
        b"WARNING: slow\nraw <here>\r\n"
    ),
    b'#< CLIXML\r\n%s<S S="Error">cut of' % OBJS: b'<S S="Error">cut of',
    b'#< CLIXML\r\n%s<S S="Error">Ger\xc3\xa4t &#228;</S></Objs>' % OBJS: "Gerät ä".encode(),
}


@pytest.mark.parametrize("given", CASES)
@pytest.mark.parametrize("piece_bytes", [1, 7, 10_000])
def test_records_become_lines(given, piece_bytes):
    text = ErrorText()
    pieces = range(0, len(given), piece_bytes)
    got = b"".join(text.feed(given[at : at + piece_bytes]) for at in pieces)
    assert got + text.finish() == CASES[given]


def test_lines_come_as_soon_as_they_end():
    text = ErrorText()
    assert text.feed(b"one\ntw") == b"one\n"
    assert text.feed(b"o\n") == b"two\n"


def test_a_record_that_never_ends_is_not_kept_for_ever():
    text = ErrorText()
    text.feed(b"#< CLIXML\r\n" + OBJS + b'<S S="Error">')
    shown = sum(len(text.feed(b"x" * 10_000)) for _ in range(100))
    assert shown > 900_000

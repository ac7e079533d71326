import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.errors import UserError
from app.private_key import check_private_key
from app.step import Secret
from tests.lab.private_keys import make_private_key

FORMS = [PrivateFormat.OpenSSH, PrivateFormat.PKCS8]


@pytest.mark.parametrize("form", FORMS)
def test_a_key_opens_with_its_passphrase_or_without_one(form):
    check_private_key(Secret(make_private_key(form=form)), None)
    check_private_key(Secret(make_private_key("open sesame", form)), Secret("open sesame"))


def test_blank_lines_around_a_key_do_no_harm():
    check_private_key(Secret(f"\n\n{make_private_key().strip()}"), None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("made_with", "given", "words", "hint"),
    [
        ("open sesame", None, "has a passphrase", "--passphrase"),
        (None, "open sesame", "has no passphrase", "--become-password"),
        ("open sesame", "close sesame", "does not open with this passphrase", None),
    ],
)
def test_what_is_wrong_with_the_passphrase_is_told(form, made_with, given, words, hint):
    with pytest.raises(UserError, match=words) as caught:
        check_private_key(Secret(make_private_key(made_with, form)), given and Secret(given))
    assert (hint is None and caught.value.hint is None) or hint in caught.value.hint


@pytest.mark.parametrize("text", ["", "planted words", make_private_key()[:-120]])
def test_what_is_no_key_is_refused_without_a_word_of_it(text):
    with pytest.raises(UserError, match="cannot be read") as caught:
        check_private_key(Secret(text), None)
    assert "Ed25519, ECDSA or RSA" in caught.value.hint
    assert caught.value.__cause__ is None
    assert "planted" not in str(caught.value)


def test_a_kind_that_no_server_takes_is_refused():
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = Ed448PrivateKey.generate().private_bytes(*form).decode()
    with pytest.raises(UserError, match="type is not served"):
        check_private_key(Secret(text), None)

"""Phone numbers and e-mail addresses as people type them."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from messaging import email_address, phone


@pytest.mark.parametrize(
    "typed",
    ["07400123456", "07400 123 456", "+44 7400 123456", "+44 (0)7400 123456", "0044 7400-123-456",
     "７４００ 123456", "٠٧٤٠٠١٢٣٤٥٦", "\u202a+447400123456\u202c", "07400–123–456"],
)  # fmt: skip
def test_a_british_mobile_comes_out_as_e164_however_it_is_typed(typed):
    assert phone.parse_mobile(typed) == "+447400123456"


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("", "malformed", "not a complete"),
        ("07400 12345", "malformed", "not a complete"),
        ("call me", "malformed", "not a complete"),
        ("07400123456 ext 5", "malformed", "not a complete"),
        ("0800 FLOWERS", "malformed", "not a complete"),
        ("020 7946 0018", "not-a-mobile", "landline"),
        ("0121 234 5678", "not-a-mobile", "landline"),
        ("0800 111 1111", "not-a-mobile", "not a mobile"),
        ("070 1234 5678", "personal-number", "070"),
        ("076 4012 3456", "pager", "076"),
        ("07911 123456", "crown-dependency", "Guernsey"),
        ("07797 712345", "crown-dependency", "Jersey"),
        ("07624 312345", "crown-dependency", "the Isle of Man"),
        ("+33 6 12 34 56 78", "foreign", "country"),
        ("+1 202 555 0143", "foreign", "country"),
        ("07700 900123", "fictional", "drama"),
    ],
)
def test_every_refusal_says_why(typed, code, words):
    with pytest.raises(phone.PhoneError) as caught:
        phone.parse_mobile(typed)
    assert caught.value.code == code
    assert words in caught.value.message


def test_configuration_can_let_other_regions_and_the_drama_range_in():
    assert phone.parse_mobile("07911 123456", regions=("GB", "GG")) == "+447911123456"
    assert phone.parse_mobile("+33612345678", regions=("GB", "FR")) == "+33612345678"
    assert phone.parse_mobile("07700 900000", allow_fictional=True) == "+447700900000"
    assert phone.parse_mobile("07700 900999", allow_fictional=True) == "+447700900999"
    assert phone.parse_mobile("07700 123456") == "+447700123456"


@given(st.text(max_size=60) | st.text("0123456789+ ()-.", max_size=20))
@example("+447400123456;ext=5")
@example("tel:07400123456")
def test_any_text_gives_e164_or_a_reason(text):
    try:
        number = phone.parse_mobile(text, allow_fictional=True)
    except phone.PhoneError as error:
        assert error.code and error.message
    else:
        assert re.fullmatch(r"\+447\d{9}", number)
        assert phone.parse_mobile(number, allow_fictional=True) == number


# E-mail ----------------------------------------------------------------------------------
def test_it_is_sent_as_typed_and_looked_up_by_its_normal_form():
    address = email_address.parse("  Ann.O'Neill+Ward@Mail.Police.UK ")
    assert address.as_typed == "Ann.O'Neill+Ward@Mail.Police.UK"
    assert address.form == "ann.o'neill+ward@mail.police.uk"


def test_a_domain_in_another_script_takes_its_wire_form():
    address = email_address.parse("Ann@MÜNCHEN.de")
    assert address == ("Ann@xn--mnchen-3ya.de", "ann@xn--mnchen-3ya.de")
    assert email_address.parse("ann@xn--mnchen-3ya.de").form == address.form


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", "malformed"),
        ("ann", "malformed"),
        ("ann@localhost", "malformed"),
        ("a@b@c.uk", "malformed"),
        ("Ann <ann@police.uk>", "malformed"),
        ("ann@police.uk\r\nBcc: x@y.uk", "malformed"),
        ('"a b"@police.uk', "malformed"),
        ("ann@[127.0.0.1]", "malformed"),
        ("ann..x@police.uk", "malformed"),
        ("a" * 250 + "@police.uk", "malformed"),
        ("änn@police.uk", "unsupported"),
        ("ann@people.example", "special-use"),
        ("ann@example.com", "special-use"),
        ("ann@x.test", "special-use"),
    ],
)
def test_a_wrong_address_says_why(typed, code):
    with pytest.raises(email_address.EmailError) as caught:
        email_address.parse(typed)
    assert caught.value.code == code


@pytest.mark.parametrize("typed", ["ann@people.example", "ann@example.com", "ann@x.test"])
def test_demonstrations_may_use_names_kept_for_them(typed):
    assert email_address.parse(typed, allow_special_use=True).as_typed == typed


@given(st.text(max_size=60) | st.emails())
def test_any_text_gives_an_address_or_a_reason_and_the_form_is_stable(text):
    try:
        address = email_address.parse(text, allow_special_use=True)
    except email_address.EmailError as error:
        assert error.code and error.message
    else:
        assert address.as_typed.isascii() and address.form.isascii()
        again = email_address.parse(address.form, allow_special_use=True)
        assert again.form == address.form
        assert email_address.parse(address.as_typed.swapcase(), allow_special_use=True).form == address.form

"""Area codes: kinds by shape, our own codes, and refusal of everything else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.area_codes import AreaCodeError, AreaKind, bcu_code, force_code, kind_of


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("E05013991", AreaKind.WARD),
        ("E09000006", AreaKind.BOROUGH),
        ("BCU:CE", AreaKind.BCU),
        ("FORCE:metropolitan", AreaKind.FORCE),
        ("FORCE:city-of-london", AreaKind.FORCE),
        ("PATCH:uxbridge-north", AreaKind.PATCH),
        ("TOWN:ilford", AreaKind.TOWN_CENTRE),
        ("STATION:bank", AreaKind.STATION),
        ("SHAPE:fair-2026", AreaKind.SHAPE),
    ],
)
def test_a_code_tells_the_kind_of_its_area(code: str, kind: AreaKind) -> None:
    assert kind_of(code) is kind


@pytest.mark.parametrize(
    "code",
    [
        "",
        "E05",
        "e05013991",
        "E05013991 ",
        "E05013991\n",
        "E0501399١",
        "E12000007",
        "BCU:ce",
        "FORCE:",
        "FORCE:-a",
        "PATCH:",
        "PATCH:Uxbridge",
        "PATCH:uxbridge--north",
        "PATCH:longer-than-20-characters",
        "STATION:bank\n",
    ],
)
def test_anything_else_is_refused_in_plain_english(code: str) -> None:
    with pytest.raises(AreaCodeError) as caught:
        kind_of(code)
    assert "not the code of an area" in caught.value.message


def test_our_own_codes_are_made_from_their_sources_letters() -> None:
    assert bcu_code("CE") == "BCU:CE"
    assert force_code("city-of-london") == "FORCE:city-of-london"


def test_our_own_codes_are_not_made_from_other_texts() -> None:
    with pytest.raises(AreaCodeError):
        bcu_code("C1")
    with pytest.raises(AreaCodeError):
        force_code("City of London")
    with pytest.raises(AreaCodeError):
        force_code("a" * 100)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_has_a_kind_or_is_refused(text: str) -> None:
    try:
        assert kind_of(text) in AreaKind
    except AreaCodeError as error:
        assert error.message

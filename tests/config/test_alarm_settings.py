"""Where alarms go, and who may read the metrics, as settings say it."""

from __future__ import annotations

import pytest

from config.fields import Part
from config.settings import Settings, SettingsError

WHOLE = {
    "ALARM_EMAILS": " duty@police.example , it@police.example,",
    "ALARM_MOBILES": "+447700900123,+353861234567",
    "ALARM_WEBHOOK": "https://hook.police.example/in?to=duty",
    "ALARM_WEBHOOK_KEY": "sixteen-or-more-characters",
    "METRICS_TOKEN": "another-token-of-16",
}


def test_lists_are_read_and_nothing_of_them_shows_in_repr() -> None:
    settings = Settings.load(WHOLE)
    assert settings.alarm_emails == ("duty@police.example", "it@police.example")
    assert settings.alarm_mobiles == ("+447700900123", "+353861234567")
    for value in ("duty@", "7700900123", "hook.police", "sixteen", "another-token"):
        assert value not in repr(settings)


def test_without_any_of_them_there_is_no_route() -> None:
    for part in Part:
        settings = Settings.load({}, part)
        assert (settings.alarm_emails, settings.alarm_mobiles, settings.alarm_webhook) == ((), (), "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALARM_EMAILS", "duty"),
        ("ALARM_EMAILS", "duty@police.example;it@police.example x"),
        ("ALARM_MOBILES", "07700900123"),
        ("ALARM_MOBILES", "+447700900123 +447700900124"),
        ("ALARM_WEBHOOK", "ftp://hook.police.example"),
        ("ALARM_WEBHOOK", "http://hook.police.example"),
        ("ALARM_WEBHOOK_KEY", "short"),
        ("ALARM_AGAIN_MINUTES", "half an hour"),
        ("METRICS_TOKEN", "with a space in it"),
    ],
)
def test_what_cannot_be_used_is_named_and_never_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(WHOLE | {name: value})
    assert set(caught.value.problems) == {name}
    assert value not in str(caught.value)


def test_a_webhook_without_its_key_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"ALARM_WEBHOOK": "https://hook.police.example"})
    assert set(caught.value.problems) == {"ALARM_WEBHOOK_KEY"}

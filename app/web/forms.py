"""Forms: WTForms, with the checks that every field needs, and errors in the shape that pages show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import wtforms
from flask import request
from wtforms import validators

from app.errors import Invalid

__all__ = ["Code", "Form", "Line", "Lines", "Many", "One", "Pick", "Secret"]


def _storable(form: wtforms.Form, field: wtforms.Field) -> None:
    text = field.data or ""
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise validators.StopValidation("This holds a character that cannot be used. Type it again.")


def _longest(longest: int) -> Any:
    def check(form: wtforms.Form, field: wtforms.Field) -> None:
        if len(field.data or "") > longest:
            raise validators.StopValidation(f"{field.label.text} must be {longest:,} characters or fewer.")

    return check


def _needed(message: str | None) -> list[Any]:
    return [validators.DataRequired(message)] if message else [validators.Optional()]


def _stripped(value: str | None) -> str:
    return (value or "").strip()


class Line(wtforms.StringField):
    """One line of text. ``needed``: the message when it is empty; without it the line may be."""

    def __init__(
        self, label: str, *, longest: int = 200, needed: str | None = None, hint: str = "", **more: Any
    ) -> None:
        checks = [*_needed(needed), _storable, _longest(longest)]
        super().__init__(label, checks, filters=[_stripped], description=hint, **more)
        self.longest = longest


class Lines(wtforms.TextAreaField):
    """Several lines of text; line ends as the browser sends them become ours."""

    def __init__(
        self, label: str, *, longest: int = 2_000, needed: str | None = None, hint: str = "", **more: Any
    ) -> None:
        checks = [*_needed(needed), _storable, _longest(longest)]
        super().__init__(label, checks, filters=[_stripped, _unix], description=hint, **more)
        self.longest = longest


def _unix(value: str) -> str:
    return value.replace("\r\n", "\n").replace("\r", "\n")


class Secret(wtforms.PasswordField):
    """A password: kept as typed, never shown again."""

    def __init__(self, label: str, *, needed: str, longest: int = 200, hint: str = "", **more: Any) -> None:
        super().__init__(label, [*_needed(needed), _storable, _longest(longest)], description=hint, **more)


class Code(wtforms.StringField):
    """Six digits; people type spaces and hyphens between them."""

    def __init__(
        self, label: str, *, needed: str = "Enter the 6-digit code.", hint: str = "", **more: Any
    ) -> None:
        checks = [*_needed(needed), validators.Regexp(r"^[0-9]{6}$", message="The code has 6 digits.")]
        super().__init__(label, checks, filters=[_digits], description=hint, **more)


def _digits(value: str | None) -> str:
    return "".join(c for c in (value or "") if c not in " -\t\u00a0")[:20]


class One(wtforms.RadioField):
    """One of several."""

    def __init__(
        self, label: str, choices: Iterable[tuple[str, str]] = (), *, needed: str, hint: str = "", **more: Any
    ) -> None:
        super().__init__(
            label,
            [validators.InputRequired(needed)],
            description=hint,
            validate_choice=False,
            **more,
        )
        self.choices = list(choices)  # pairs: our macros show them, not the library
        self.needed = needed

    def pre_validate(self, form: wtforms.Form) -> None:
        if self.data and self.data not in {value for value, *_ in self.choices}:
            raise validators.StopValidation(self.needed)


class Pick(wtforms.SelectField):
    """One of a long list that opens; the first choice, with the value "", is none of them."""

    def __init__(
        self, label: str, choices: Iterable[tuple[str, str]] = (), *, hint: str = "", **more: Any
    ) -> None:
        super().__init__(label, description=hint, validate_choice=False, **more)
        self.choices = list(choices)

    def pre_validate(self, form: wtforms.Form) -> None:
        if self.data and self.data not in {value for value, *_ in self.choices}:
            raise validators.StopValidation("Choose one of the list.")


class Many(wtforms.SelectMultipleField):
    """Any of several; ``needed``: the message when there is none."""

    data: Any

    def __init__(
        self,
        label: str,
        choices: Iterable[tuple[str, str]] = (),
        *,
        needed: str | None = None,
        hint: str = "",
        **more: Any,
    ) -> None:
        super().__init__(label, description=hint, validate_choice=False, **more)
        self.choices = list(choices)
        self.needed = needed

    def pre_validate(self, form: wtforms.Form) -> None:
        known = {value for value, *_ in self.choices}
        self.data = [value for value in dict.fromkeys(self.data or []) if value in known]
        if self.needed and not self.data:
            raise validators.StopValidation(self.needed)


class Form(wtforms.Form):
    """A form of ours: filled from the request when it was posted, else from ``values``."""

    def __init__(self, **values: Any) -> None:
        super().__init__(request.form if request.method == "POST" else None, data=values)

    def refuse(self, error: Invalid, *, otherwise: str | None = None) -> None:
        """Show a service's refusal beside its field, or beside ``otherwise`` when it is of none here."""
        name = error.field if error.field in self else otherwise or next(iter(self._fields))
        self[name].errors = [*self[name].errors, error.message]

    @property
    def problems(self) -> list[dict[str, str]]:
        """What the error summary lists: every message, with the field that it leads to."""
        found = []
        for field in self:
            found += [{"text": message, "href": f"#{field.id}"} for message in field.errors]
        return found

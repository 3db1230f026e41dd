"""Who an owner of cameras is, how they want to be reached, and the addresses that they prove."""

from __future__ import annotations

import wtforms

from app.errors import Invalid
from app.services.people import Address
from app.services.register import opting
from app.services.register.opting import OWNER_KINDS, REACH_HOW, REACH_WHEN, Owner
from app.web.forms import Form, Line, One
from app.web.resident import asking
from messaging.types import Channel

__all__ = ["ContactForm", "OwnerForm"]


class OwnerForm(Form):
    """Name, and how to be reached."""

    name = Line(
        "Your name",
        longest=opting.LONGEST_NAME,
        needed="Enter your name.",
        hint="Nobody sees it until you answer a request.",
    )
    owner_kind = One(
        "Where are your cameras?", [*OWNER_KINDS.items()], needed="Choose where your cameras are."
    )
    reach_how = One(
        "How may officers get in touch about footage?",
        [*REACH_HOW.items()],
        needed="Choose how to get in touch.",
    )
    reach_when = One("When?", [*REACH_WHEN.items()], needed="Choose when.")

    def owner(self) -> Owner | None:
        """None when something is wrong, which then stands beside its field."""
        if not self.validate():
            return None
        try:
            return Owner(self.name.data, self.owner_kind.data, self.reach_how.data, self.reach_when.data)
        except Invalid as error:
            self.refuse(error, otherwise="name")
            return None


class ContactForm(OwnerForm):
    """The same of somebody who is not here yet: with their addresses, and what they agree to."""

    email = Line("E-mail address", longest=254)
    mobile = Line("Mobile number", longest=40, hint="Text messages only. A landline cannot get them.")
    wording = wtforms.HiddenField()

    def addresses(self) -> list[Address]:
        """Those that were given; what is wrong with them stands beside their fields."""
        found = []
        for field, channel in ((self.email, Channel.EMAIL), (self.mobile, Channel.SMS)):
            if field is not None and field.data:
                try:
                    found.append(asking.address(channel, field.data, field.name))
                except Invalid as error:
                    self.refuse(error)
        return found

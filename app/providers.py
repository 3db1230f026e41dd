"""Settings → providers per channel, in the order in which they are asked. The only place that chooses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings
from messaging.providers.base import EmailProvider, SmsProvider
from messaging.providers.sendgrid import SendGridProvider
from messaging.providers.twilio import TwilioProvider
from messaging.types import Channel

if TYPE_CHECKING:
    from messaging.providers.twilio_reader import TwilioReader

SMS_IN_FLIGHT = 400  # what one process can keep up with (groundwork §5)
CALLS_IN_FLIGHT = 8
SENDGRID, SMTP, TWILIO, SECOND_TWILIO, NOTIFY = "sendgrid", "smtp", "twilio", "twilio-2", "notify"
# Where each message is a call of its own, an attempt holds few people, so that few can be in doubt.
FEW, FEWER = 50, 20


@dataclass(frozen=True, slots=True)
class Way:
    """One provider of a channel, and for what it may be used.

    ``most``: people an attempt. ``urgent_only``: nothing of the bulk lane. ``own_sender``: messages come
    from the provider's own address or number, whatever ours is.
    """

    provider: EmailProvider | SmsProvider
    most: int = 1_000
    urgent_only: bool = False
    own_sender: bool = False

    @property
    def name(self) -> str:
        return self.provider.name


def email(settings: Settings) -> EmailProvider:
    """Who sends our e-mail as long as all is well."""
    return SendGridProvider(
        settings.sendgrid_api_key, base_url=settings.sendgrid_base_url, limit=CALLS_IN_FLIGHT
    )


def sms(settings: Settings) -> SmsProvider:
    """Who sends our text messages as long as all is well."""
    return TwilioProvider(
        settings.twilio_account_sid,
        settings.twilio_auth_token,
        public_url=settings.public_url,
        base_url=settings.twilio_base_url,
        limit=SMS_IN_FLIGHT,
    )


def names(settings: Settings) -> dict[Channel, list[str]]:
    """Who is configured, in order, without making anything: for the scheduler and for pages."""
    notify = bool(settings.notify_api_key)
    mail = [SENDGRID] + [SMTP] * bool(settings.smtp_url)
    texts = [TWILIO] + [SECOND_TWILIO] * bool(settings.twilio_2_account_sid)
    return {
        Channel.EMAIL: mail + [NOTIFY] * (notify and bool(settings.notify_email_template)),
        Channel.SMS: texts + [NOTIFY] * (notify and bool(settings.notify_sms_template)),
    }


def ways(settings: Settings) -> dict[Channel, list[Way]]:
    """Every configured provider of each channel, the first choice first."""
    found: dict[Channel, list[Way]] = {
        Channel.EMAIL: [Way(email(settings))],
        Channel.SMS: [Way(sms(settings))],
    }
    configured = names(settings)
    if SMTP in configured[Channel.EMAIL]:
        from messaging.providers.smtp import SmtpProvider

        found[Channel.EMAIL].append(Way(SmtpProvider(settings.smtp_url), most=FEW))
    if SECOND_TWILIO in configured[Channel.SMS]:
        second = TwilioProvider(
            settings.twilio_2_account_sid,
            settings.twilio_2_auth_token,
            public_url=settings.public_url,
            base_url=settings.twilio_base_url,
            name=SECOND_TWILIO,
            limit=SMS_IN_FLIGHT,
        )
        found[Channel.SMS].append(Way(second))
    if any(NOTIFY in each for each in configured.values()):
        from messaging.providers.notify import NotifyClient, NotifyEmail, NotifySms

        client = NotifyClient(settings.notify_api_key, settings.notify_base_url)
        if settings.notify_email_template:
            mail = NotifyEmail(client, settings.notify_email_template)
            found[Channel.EMAIL].append(Way(mail, most=FEWER, urgent_only=True, own_sender=True))
        if settings.notify_sms_template:
            text = NotifySms(client, settings.notify_sms_template)
            found[Channel.SMS].append(Way(text, most=FEWER, urgent_only=True, own_sender=True))
    return found


def readers(settings: Settings) -> dict[str, TwilioReader]:
    """Whom to ask what became of texts, by provider; only the accounts that are configured."""
    from messaging.providers.twilio_reader import TwilioReader

    accounts = {
        TWILIO: (settings.twilio_account_sid, settings.twilio_auth_token),
        SECOND_TWILIO: (settings.twilio_2_account_sid, settings.twilio_2_auth_token),
    }
    return {
        name: TwilioReader(sid, token, base_url=settings.twilio_base_url)
        for name, (sid, token) in accounts.items()
        if sid and token
    }

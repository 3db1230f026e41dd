"""Settings → providers per channel. The only place that chooses one."""

from __future__ import annotations

from config.settings import Settings
from messaging.providers.base import EmailProvider, SmsProvider
from messaging.providers.sendgrid import SendGridProvider
from messaging.providers.twilio import TwilioProvider

SMS_IN_FLIGHT = 400  # what one process can keep up with (groundwork §5)
CALLS_IN_FLIGHT = 8


def email(settings: Settings) -> EmailProvider:
    """Who sends our e-mail."""
    return SendGridProvider(
        settings.sendgrid_api_key, base_url=settings.sendgrid_base_url, limit=CALLS_IN_FLIGHT
    )


def sms(settings: Settings) -> SmsProvider:
    """Who sends our text messages."""
    return TwilioProvider(
        settings.twilio_account_sid,
        settings.twilio_auth_token,
        public_url=settings.public_url,
        base_url=settings.twilio_base_url,
        limit=SMS_IN_FLIGHT,
    )

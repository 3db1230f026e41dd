"""A local stand-in for Twilio and SendGrid. Start one with ``messaging.sandbox.server.Sandbox``."""

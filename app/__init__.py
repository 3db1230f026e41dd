"""The service: see docs/developer.md for the floors."""

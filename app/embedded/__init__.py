"""Private PostgreSQL and Valkey for a machine that has neither: see client.py."""

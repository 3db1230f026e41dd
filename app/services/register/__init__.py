"""The register of cameras: who has one, lawful searches, requests, and watching the watchers."""

"""Erasure: what happens in each store, doing it, and doing it again after a restore."""

"""Limits that a user can meet, each with its reason."""

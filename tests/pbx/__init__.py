"""Calls through a real Asterisk, seen on the wire."""

"""Tests of agi_server.exchange and of the commands import and export."""

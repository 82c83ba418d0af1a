"""Tests of agi_server/tracking."""

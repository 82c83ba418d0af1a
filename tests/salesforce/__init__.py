"""Tests of `agi_server/salesforce`."""

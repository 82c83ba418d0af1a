"""Tests of the console in a real browser, against a server process as shipped."""

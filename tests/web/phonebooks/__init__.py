"""Tests of the phone books."""

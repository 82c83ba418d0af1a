"""Tests of the FastAGI wire."""

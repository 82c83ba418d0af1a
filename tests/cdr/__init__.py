"""Tests of the PBX's own call records."""

"""Tests of the manager interface (AMI)."""

"""Salesforce in the background: logging in, reading, writing back. Nothing here runs on the call path."""

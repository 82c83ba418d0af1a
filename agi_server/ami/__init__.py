"""Asterisk's manager interface (AMI): calls as they happen, what phones do, and orders to dial."""

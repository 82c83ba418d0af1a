"""Asterisk's own call records: what they tell of calls that nothing else told of."""

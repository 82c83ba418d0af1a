"""The domain: who is calling, may they come in, whom did they come to see.

Nothing in this package imports the wire, the web, the database or a CRM, and nothing in it waits.
"""

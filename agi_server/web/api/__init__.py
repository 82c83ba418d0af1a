"""The HTTP API: JSON below /api/v1."""

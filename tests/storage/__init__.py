"""The database: real SQLite files, real processes, real signals."""

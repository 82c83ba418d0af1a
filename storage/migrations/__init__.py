"""How the tables came to be: `env.py` is run by Alembic, `versions/` holds the steps."""

"""The local database: schema, migrations, the read path of the call, and every write."""

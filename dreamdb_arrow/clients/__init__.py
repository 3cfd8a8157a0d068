"""Other people's libraries that are clients of a Space: SQLAlchemy. ADR 0047."""

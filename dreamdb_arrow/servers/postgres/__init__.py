"""The PostgreSQL wire: a Space for psql, psycopg, asyncpg and BI tools, over pg-mimic. ADR 0048."""

"""An open SQLite or PostgreSQL database: URLs, connections, transactions, files, errors. Knows no tables."""

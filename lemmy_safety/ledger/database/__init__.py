"""An open SQLite or PostgreSQL database: URLs, connections, transactions, files, faults. Knows no table."""

"""Objects in storages: what is known of them, what passes record, and what is judged again on request."""

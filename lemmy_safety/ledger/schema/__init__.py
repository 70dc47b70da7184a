"""Tables and columns, how records map to them, and the migrations that create them."""

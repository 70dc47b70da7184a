"""Tables and columns, how records lie in them, and the migrations that make them."""

"""Pictures that are removed through pict-rs, and what belongs to each. Removes nothing."""

"""The stages of a pass in their order: list, fetch, decode, judge, record."""

"""Asks a running pict-rs over its internal HTTP interface: 0.4, 0.5 and 0.6."""

"""The relay: uploads in memory, handed to workers over HTTP. It judges nothing."""

"""Uploads that are judged on another machine: the protocol, a relay that hands them out, and the worker that judges."""

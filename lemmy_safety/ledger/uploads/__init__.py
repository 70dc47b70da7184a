"""Uploads that the hook was asked about: what became of them, and those accepted unchecked until they are judged."""

"""From an object to its picture: aliases, original and other sizes. What cannot be resolved is said so, never guessed."""

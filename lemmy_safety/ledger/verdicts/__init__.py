"""What is known about bytes, wherever they were found: flags that stand, and the latest verdict."""

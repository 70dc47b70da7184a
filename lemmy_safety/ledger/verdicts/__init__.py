"""What holds of some bytes, wherever they were met: flags that stand, and the latest verdict."""

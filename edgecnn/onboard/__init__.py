"""What runs on the board: the standard library only, until a runtime is opened."""

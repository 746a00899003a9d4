"""The desk's side of a board: the way there, and what is sent over it."""

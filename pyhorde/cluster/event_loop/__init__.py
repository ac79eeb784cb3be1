"""How the node's own event loop does: lag, what blocks it, whether it stood still."""

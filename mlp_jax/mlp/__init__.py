"""The network as pure functions (sections 6.2 to 6.4 and 6.5.4)."""

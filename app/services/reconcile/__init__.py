"""What stayed silent: what may be concluded from it, and what to ask the providers."""

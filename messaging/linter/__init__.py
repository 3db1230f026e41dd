"""What must not stand in a message, found before it is sent."""

"""The admin commands, run as an admin runs them."""

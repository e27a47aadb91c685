"""Local SQLite: the daemon's memory, and the captures of the box."""

"""What this machine can do for its box: one finding after the other, each looked at for itself."""

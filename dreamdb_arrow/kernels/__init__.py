"""Arrays to arrays: the hot loops; pure."""

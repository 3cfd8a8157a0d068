"""The demo: real data into one Space, then a tour of SQL over it."""

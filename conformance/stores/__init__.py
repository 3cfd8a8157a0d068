"""What another store must do. Spec 0005."""

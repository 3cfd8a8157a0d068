"""A Space over the network: what each server needs, and one folder a protocol."""
